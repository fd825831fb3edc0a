"""The picture of a set: the words of the guide, and splits under what they are part of."""

import numpy as np
import pytest

from modularml.core.data.featureset import FeatureSet

GUIDE = """\
flowchart LR
	n0 e0@-->|"n=400"| n1
	n0 e1@-->|"n=100"| n2

	n0@{ label: "<b>FeatureSet</b><br>'SensorData'<br>n=500<br>──────────<br><b>features</b><br>  voltage.raw: (10,)<br><b>targets</b><br>  soh.raw: ()", shape: rect }
	n1@{ label: "<b>Split</b><br>'train'<br>n=400<br>──────────<br><b>features</b><br>  voltage.raw: (10,)<br><b>targets</b><br>  soh.raw: ()<br>──────────<br><b>overlap</b><br>  test: 0", shape: rect }
	n2@{ label: "<b>Split</b><br>'test'<br>n=100<br>──────────<br><b>features</b><br>  voltage.raw: (10,)<br><b>targets</b><br>  soh.raw: ()<br>──────────<br><b>overlap</b><br>  train: 0", shape: rect }
	n0:::FeatureSet
	n1:::FeatureSetView
	n2:::FeatureSetView
	classDef FeatureSet stroke-width: 2px, stroke-dasharray: 0, stroke: #AA00FF, fill: #E1BEE7, color:#000000;
	classDef FeatureSetView stroke-width: 2px, stroke-dasharray: 0, stroke: #AA00FF, fill: #F3E5F5, color:#000000;

	classDef NoAnimation stroke-dasharray: 0;
	class e0 NoAnimation
	class e1 NoAnimation"""  # noqa: E501


def guide() -> FeatureSet:
    rng = np.random.default_rng(42)
    fs = FeatureSet.from_dict(
        label="SensorData",
        data={"voltage": list(rng.standard_normal((500, 10))), "soh": list(rng.standard_normal((500, 1)))},
        feature_keys="voltage",
        target_keys="soh",
    )
    fs.split_random(ratios={"train": 0.8, "test": 0.2}, seed=13)
    return fs


def test_it_is_the_picture_of_the_guide() -> None:
    assert guide().diagram().mermaid.strip() == GUIDE


def test_parts_hang_under_their_whole(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})
    fs["train"].split_random({"fit": 0.5, "val": 0.5})
    spec = fs.diagram().spec
    label = {node.id: node.name for node in spec.nodes}
    arrows = [(label[edge.source], label[edge.target], edge.label) for edge in spec.edges]
    assert arrows == [
        ("Sensor", "train", "n=30"),
        ("Sensor", "test", "n=30"),
        ("train", "fit", "n=15"),
        ("train", "val", "n=15"),
    ]
    overlap = {node.name: node.blocks[-1][-1].rows for node in spec.nodes[1:]}
    assert overlap["fit"] == ("test: 0", "val: 0")
    assert overlap["train"] == ("test: 0",)


def test_what_is_listed_can_be_chosen(fs: FeatureSet) -> None:
    fs.split_random({"train": 0.5, "test": 0.5})

    def headings(**options: bool | str) -> list[list[str]]:
        nodes = fs.diagram(**options).spec.nodes[:2]  # type: ignore[arg-type]
        return [[section.heading for block in node.blocks for section in block] for node in nodes]

    assert headings() == [["features", "targets", "tags"], ["features", "targets", "overlap"]]
    assert headings(show_tags=True)[1] == ["features", "targets", "tags", "overlap"]
    assert headings(show_tags=False, show_features=False) == [["targets"], ["targets", "overlap"]]
    assert headings(show_targets=False, show_overlaps=False)[1] == ["features"]


def test_outside_a_notebook_the_fenced_text_is_printed(
    fs: FeatureSet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fs.visualize() is None
    assert capsys.readouterr().out == f"```mermaid\n{fs.diagram().mermaid}\n```\n"
