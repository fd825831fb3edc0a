"""What is read from files without loading them."""

import math
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from modularml import inspect
from modularml.base.errors import FileFormatError
from modularml.display.mermaid import mermaid
from modularml.inspection.facts import brief
from modularml.io import codec
from modularml.io.names import SUFFIXES

FORMATS = Path(__file__).parents[1] / "formats"
NET = "[red]net[/] <&>"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KINDS = {
    "first.exp.mml": ("experiment", "first"),
    "kept.ckpt.mml": ("checkpoint", "kept"),
    "data.fs.mml": ("feature_set", "data"),
    "order.sm.mml": ("sampler", "SimpleSampler"),
    "parts.sp.mml": ("splitter", "RandomSplitter"),
    "scale.sc.mml": ("scaler", "Scaler"),
}


def results(losses=((1.0,), (3.0,), (0.5,)), n_batches=(2, 0, 1), metrics=None):
    recording = {
        "loss_nodes": {"mse": "net"},
        "losses": np.array(losses),
        "n_batches": list(n_batches),
        "n_samples": np.full(len(losses), 4),
        "metrics": metrics or {},
    }
    return {"kind": "train", "label": "train", "recording": recording}


def run(**changes):
    state = {
        "label": "train", "id": "1", "status": "completed", "error": None, "started_at": AT, "ended_at": AT,
        "phases": [], "results": results(),
    }  # fmt: skip
    return state | changes


def checkpoint(tmp_path, *runs, graph=None):
    tree = {"name": "c", "meta": {}, "state": {"graph": graph, "history": list(runs)}}
    return codec.save(tmp_path / "made", "checkpoint", tree, overwrite=True)


def fault_of(path):
    try:
        inspect(path)
    except FileFormatError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_each_kind_tells_what_it_is(written, name):
    facts = inspect(written / name)
    assert (facts.kind, facts.label) == KINDS[name]
    assert facts.format == 1
    assert facts.versions["numpy"] == np.__version__
    assert facts.n_bytes == (written / name).stat().st_size
    assert facts.modified_at.tzinfo is not None


def test_every_file_that_was_written_is_of_a_kind_that_is_tested(written):
    assert {path.name for path in written.iterdir()} == {*KINDS, "second.exp.mml"}


@pytest.mark.parametrize("path", sorted(FORMATS.rglob("*.mml")), ids=str)
def test_the_files_of_every_format_can_be_looked_into(path):
    facts = inspect(path)
    assert facts.kind in SUFFIXES
    assert facts.settings


@pytest.mark.parametrize("name", KINDS)
def test_neither_torch_nor_scikit_learn_is_loaded_to_look(written, name):
    program = (
        f"import sys, modularml; f = modularml.inspect({str(written / name)!r}); f.settings; f.to_json()\n"
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert {"torch", "sklearn", "scipy", "skops", "rich"}.isdisjoint(done.stdout.split())
    assert "numpy" in done.stdout.split()


def test_the_data_is_described_and_not_read(written):
    (data,) = inspect(written / "data.fs.mml").data
    assert (data.label, data.n_samples) == ("data", 24)
    assert data.columns["features.x.raw"] == "float64 (3,)"
    assert data.splits == {"train": 18, "test": 6}


def test_printed_facts_name_what_is_held_on_a_few_lines(written):
    facts = inspect(written / "first.exp.mml")
    assert repr(facts).startswith(f"FileFacts(path={str(facts.path)!r}, kind='experiment', label=")
    assert facts.runs[0].label in repr(facts) and len(repr(facts)) < 600


def test_nodes_tell_model_shapes_and_size(written):
    forest, net, head = inspect(written / "first.exp.mml").nodes
    assert (forest.model, forest.upstreams, forest.n_parameters) == ("RandomForestRegressor", ("data",), None)
    assert (net.label, net.model, net.upstreams) == (NET, "SequentialMLP", ("data",))
    assert (head.upstreams, head.input_shapes, head.output_shape) == ((NET,), ((1, 2),), (1, 1))
    assert head.n_parameters == 2 * 4 + 4 + 4 * 1 + 1
    assert not head.is_frozen


def test_a_checkpoint_tells_its_nodes_and_runs_as_far_as_it_knows_them(written):
    experiment, kept = inspect(written / "first.exp.mml"), inspect(written / "kept.ckpt.mml")
    assert [(node.label, node.model) for node in kept.nodes] == [(NET, None), ("head", None)]
    assert kept.final == experiment.final
    assert kept.picture is None and kept.plan is None


def test_the_plan_has_its_groups_and_what_phases_are_told(written):
    plan = inspect(written / "first.exp.mml").plan
    fold, evaluation = plan.entries
    (train,) = fold.entries
    assert (fold.kind, train.kind, evaluation.kind) == ("PhaseGroup", "TrainPhase", "EvalPhase")
    assert train.entries is None
    assert f"data → {NET}, split train, by SimpleSampler(batch_size=6," in train.details[0]
    assert f"loss {NET}: mse on head" in train.details
    assert "n_epochs: 3" in train.details


def test_runs_tell_how_they_ended_and_what_came_of_them(written):
    whole, failed = inspect(written / "first.exp.mml").runs
    assert (whole.status, whole.error) == ("completed", None)
    assert [(p.path, p.kind, p.status) for p in whole.phases] == [
        ("fold/train", "train", "completed"),
        ("eval", "eval", "completed"),
    ]
    assert whole.duration_s >= sum(phase.duration_s for phase in whole.phases) > 0
    assert [(curve.phase, len(curve.points)) for curve in whole.curves] == [("fold/train", 3), ("eval", 1)]
    assert failed.status == "failed"
    assert failed.error.startswith("CallbackError: ")


def test_a_curve_has_the_mean_of_each_epoch_that_has_a_batch(tmp_path):
    metrics = {"val": [(0, None, 2.0), (2, 1, math.nan)]}
    ((loss, metric),) = [
        r.curves for r in inspect(checkpoint(tmp_path, run(results=results(metrics=metrics)))).runs
    ]
    assert (loss.name, loss.points) == ("mse", ((0, None, 2.0), (2, None, 0.5)))
    assert metric.points[0] == (0, None, 2.0)
    assert metric.points[1][:2] == (2, 1) and math.isnan(metric.points[1][2])


def test_final_values_are_those_of_the_newest_run_that_has_them(tmp_path):
    newest = run(results=results(losses=((7.0,),), n_batches=(1,)))
    path = checkpoint(tmp_path, run(), newest, run(results=None), run(results=results((), ())))
    assert inspect(path).final == {("train", "mse"): 7.0}


def test_the_picture_is_that_of_the_live_graph(written):
    text = mermaid(inspect(written / "first.exp.mml").picture)
    assert "FeatureSet" in text and "n=24" in text and "(1, 2)" in text
    assert "forest" not in text  # it is in no graph
    assert "[red]" not in text


def test_settings_leave_ids_out_and_tell_arrays_apart(written):
    first, second = (inspect(written / f"{name}.exp.mml").settings for name in ("first", "second"))
    differing = {key for key in first | second if first.get(key) != second.get(key)}
    assert differing == {("label",), ("plan", "label"), ("graph", "optimizer", "opt_kwargs", "lr")}
    assert not any("node_id" in key for key in first)
    assert first[("nodes", "head", "model", "hidden_dim")] == "4"
    assert "sha256" in first[("data", "data", "table", "columns", "features.x.raw")]


def test_another_value_in_an_array_is_another_setting(tmp_path):
    settings = []
    for last in (1.0, 2.0):
        tree = {"config": {"$type": "X"}, "state": {"a": np.array([0.0, last]), "none": np.empty(0)}}
        settings.append(inspect(codec.save(tmp_path / str(last), "scaler", tree)).settings)
    assert [key for key in settings[0] if settings[0][key] != settings[1][key]] == [("state", "a")]


def test_the_tree_as_json_has_shapes_for_arrays_and_words_for_the_rest(tmp_path):
    values = {"a": np.zeros((2, 3)), "t": (1, 2.5, None, True), "nan": math.nan, "at": AT, "p": Path("a/b")}
    told = inspect(codec.save(tmp_path / "x", "model", values | {"f": brief})).to_json()
    assert told["tree"] == {
        "a": {"dtype": "float64", "shape": [2, 3]},
        "t": [1, 2.5, None, True],
        "nan": "nan",
        "at": "2026-01-02T03:04:05+00:00",
        "p": "a/b",
        "f": "modularml.inspection.facts.brief",
    }


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_in_any_member_is_told(written, tmp_path, name):
    path = Path(shutil.copy(written / name, tmp_path))
    whole = path.read_bytes()
    for place in range(len(whole) // 10, len(whole), len(whole) // 10 + 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        fault = fault_of(path)
        # Without a fault it was the padding between two members.
        assert name in fault if fault else inspect(path).settings == inspect(written / name).settings


@pytest.mark.parametrize("size", [0, 10, 300])
def test_a_file_that_is_cut_short_is_told(written, tmp_path, size):
    path = tmp_path / "cut.exp.mml"
    path.write_bytes((written / "first.exp.mml").read_bytes()[:size])
    with pytest.raises(FileFormatError, match=r"cut\.exp\.mml"):
        inspect(path)


@pytest.mark.parametrize("kind", ["experiment", "checkpoint", "feature_set"])
@pytest.mark.parametrize(
    "tree", [None, 3, [], {}, {"config": {"label": 3}}, {"state": None, "name": "x"}], ids=str
)
def test_a_tree_that_is_not_what_its_kind_says_is_told(tmp_path, kind, tree):
    path = codec.save(tmp_path / "odd", kind, tree)
    with pytest.raises(FileFormatError, match=f"odd.*no whole {kind}"):
        inspect(path)


@pytest.mark.parametrize(
    "change",
    [
        {"label": 3},
        {"status": None},
        {"error": ["x"]},
        {"started_at": "yesterday"},
        {"phases": [{}]},
        {"results": results(losses=(1.0, 2.0, 3.0))},
        {"results": results(losses=(("a",), ("b",), ("c",)))},
        {"results": results(n_batches=(2**70,))},
        {"results": results(metrics={"m": [(0, None, "x")]})},
    ],
    ids=str,
)
def test_a_run_that_is_none_is_told(tmp_path, change):
    path = checkpoint(tmp_path, run(**change))
    with pytest.raises(FileFormatError, match="no whole checkpoint"):
        inspect(path)


def test_what_is_not_there_is_told_as_by_open(tmp_path):
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "none.exp.mml")
