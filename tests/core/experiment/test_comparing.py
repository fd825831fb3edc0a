"""Runs of live experiments and of files side by side."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modularml import CrossValidation, CVBinding, Optimizer, compare, inspect
from modularml.base.errors import FileFormatError, InvalidTypeError
from modularml.core.experiment.display_options import QUIET
from modularml.display.run_book import RunBook
from modularml.inspection.run_views import FileRuns
from modularml.io import codec
from tests.opened import opened


@pytest.fixture
def saved(lab: Any, tmp_path: Path) -> Path:
    """A file with runs of several epochs, of one, and in folds; `lab` has them, too."""
    lab.exp.run_phase(lab.train(), **QUIET)
    lab.exp.run_phase(lab.train("once", n_epochs=1), **QUIET)
    folds = CVBinding(lab.data, ["train", "test"], val_split_name="test")
    CrossValidation(bindings=folds, phase=lab.train("fold"), n_folds=2, experiment=lab.exp).run(**QUIET)
    path: Path = lab.exp.save(tmp_path / "saved")
    return path


def test_a_file_tells_of_its_runs_what_the_experiment_tells(lab: Any, saved: Path) -> None:
    live, read = RunBook([lab.exp.history]), RunBook([FileRuns(inspect(saved))])
    rows = live.rows()
    assert len(rows) == 3 and all(row["final"] for row in rows)
    assert read.rows() == rows
    ids = [row["id"] for row in rows]
    told = live.details(ids)
    assert [detail["folds"] for detail in told] == [0, 0, 2]
    assert read.details(ids) == told


def test_one_run_in_several_sources_has_a_row_in_each(lab: Any, saved: Path, tmp_path: Path) -> None:
    both = compare(lab.exp, str(saved), saved)
    assert [source.name for source in both.sources] == ["lab", "saved.exp.mml", "saved.exp.mml (2)"]
    page = both.to_html(tmp_path / "runs.html").read_text("utf-8")
    found = re.search('id="modularml-runs">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    told = json.loads(found[1])
    assert [row["source"] for row in told["rows"]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({row["id"] for row in told["rows"]}) == len(told["details"]) == 9
    with pytest.raises(FileExistsError, match=r"overwrite=True"):
        both.to_html(tmp_path / "runs.html")


def test_a_cell_shows_names_of_all_and_follows_what_is_live(lab: Any, saved: Path) -> None:
    both = compare(lab.exp, saved)
    lab.exp.run_phase(lab.evaluate("later"), **QUIET)
    shown = both._repr_mimebundle_()
    assert shown["text/plain"] == repr(both)
    assert repr(both).startswith("Comparison(2 sources)\n  lab\n    [0] train: completed")
    assert "later: completed" in repr(both)
    for part in ("saved.exp.mml", "later"):
        assert part in shown["text/html"]


def test_the_static_form_draws_runs_of_one_name_apart(lab: Any, saved: Path) -> None:
    drawn = opened(compare(lab.exp, saved)._repr_mimebundle_()["text/html"])
    picture = re.search(r"<svg[^>]*620.*?</svg>", drawn, re.DOTALL)
    assert picture is not None
    for source in ("lab", "saved.exp.mml"):
        assert f"{source} #2 " in picture[0]
        assert f"{source} #2 " in drawn.replace(picture[0], "")


def test_files_are_compared_without_torch(saved: Path) -> None:
    program = (
        f"import sys, modularml; modularml.compare({str(saved)!r})._repr_mimebundle_()\n"
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert {"torch", "sklearn", "scipy", "skops"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("given", [(), (1,), (None, "x")])
def test_what_has_no_runs_is_refused(given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidTypeError, match=r"compare\(\) takes experiments"):
        compare(*given)


def test_a_file_with_a_run_that_is_none_is_refused(saved: Path, tmp_path: Path) -> None:
    tree = codec.load(saved, "experiment", look=True)
    tree["state"]["history"][0]["results"]["recording"]["n_samples"] = np.zeros(0)
    state = {"graph": None, "history": tree["state"]["history"][:1]}
    state["history"][0]["results"]["recording"]["n_batches"] = [0]
    state["history"][0]["metadata"] = {}
    path = codec.save(tmp_path / "made", "checkpoint", {"name": "c", "meta": {}, "state": state})
    with pytest.raises(FileFormatError, match=r"made"):
        compare(path)


def test_runs_are_rows_with_what_was_set_otherwise(make_lab: Any, tmp_path: Path) -> None:
    first, second = make_lab(), make_lab()
    second.exp.model_graph.optimizer = Optimizer("sgd", opt_kwargs={"lr": 0.25})
    first.exp.run_phase(first.train(n_epochs=2), **QUIET)
    second.exp.run_phase(second.train(n_epochs=3), **QUIET)
    second.exp.run_phase(second.evaluate(), **QUIET)
    both = compare(first.exp, second.exp.save(tmp_path / "second"))
    frame = both.to_pandas()
    assert frame[["experiment", "run", "label"]].to_numpy().tolist() == [
        ["lab", 0, "train"],
        ["second.exp.mml", 0, "train"],
        ["second.exp.mml", 1, "eval"],
    ]
    assert frame["n_epochs"][:2].tolist() == [2, 3]
    assert frame["lr"][1] == 0.25 != frame["lr"][0]
    assert frame["train/mse"][0] == first.exp.last_run.results.epoch_losses()[-1]
    assert np.isnan(frame["eval/mse"][0])
    assert not [name for name, column in frame.items() if column.astype(str).str.contains("sha256").any()]
    lines = str(both).split("\n")
    assert lines[0].split()[:4] == ["experiment", "run", "status", "took"]
    assert "0.25" in lines[2] and "–" in lines[1]
    assert str(compare(make_lab().exp)) == "no runs"


def test_what_ran_before_is_no_setting(lab: Any) -> None:
    for _ in range(2):
        lab.exp.run_phase(lab.train(), **QUIET)
    both = compare(lab.exp)
    assert "upstream" not in str(both) + " ".join(both.to_pandas())
    book = RunBook([lab.exp.history])
    told = json.dumps(book.details([row["id"] for row in book.rows()]))
    assert "upstream.train" in told and '"{}"' not in told
