"""Results on disk: written when asked for, however a run ends, and read back without running code."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from modularml import ArtifactResult, Callback, Experiment, ExperimentRun, PhaseGroup, ResultsConfig, inspect
from modularml.base.config import from_config, to_config
from modularml.base.errors import CallbackError, FileFormatError, InvalidTypeError, ModularMLWarning
from modularml.io import codec


class Artifacts(Callback):
    """Hands over one thing of each kind."""

    def __init__(self, things: Any) -> None:
        super().__init__()
        self.things = things

    def on_epoch_end(self, *, exec_ctx: Any, **_: Any) -> Any:
        return ArtifactResult(artifact_name="a/b", artifact=self.things[exec_ctx.epoch_idx])


def test_nothing_is_written_unless_asked_for(lab: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    lab.exp.run_phase(lab.train())
    assert list(tmp_path.iterdir()) == [] and lab.exp.results_config == ResultsConfig()


def test_a_run_is_read_back_as_it_was(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(results_config=ResultsConfig(tmp_path / "out", save_metrics=True))
    lab.exp.preview_phase(lab.train())
    assert not (tmp_path / "out").exists()
    group = lab.exp.run_group(PhaseGroup("g", [lab.train(), lab.evaluate()]))
    lab.exp.run_phase(lab.train("x/y"))
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["0_g", "1_x%2Fy"]
    folder = tmp_path / "out" / "0_g"
    assert sorted(entry.name for entry in folder.iterdir()) == ["eval.csv", "run.run.mml", "train.csv"]
    run = ExperimentRun.load(folder / "run.run.mml")
    assert (run.label, run.status, run.id) == ("g", "completed", lab.exp.history[0].id)
    np.testing.assert_array_equal(
        run.results["train"].stacked_tensors("net"), group["train"].stacked_tensors("net")
    )
    with (folder / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mse"]) for row in rows] == group["train"].epoch_losses().tolist()
    facts = inspect(folder / "run.run.mml")
    assert (facts.kind, facts.label, len(facts.runs)) == ("run", "g", 1)


def test_artifacts_are_written_by_what_they_are(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(results_config=ResultsConfig(tmp_path, save_execution=False))
    things = [np.arange(3), Figure(), {"a": [1, 2]}, object()]
    with pytest.warns(ModularMLWarning, match="'a/b' of object is not written"):
        lab.exp.run_phase(lab.train(n_epochs=4, callbacks=[Artifacts(things)]))
    stem = "train_a%2Fb_epoch"
    written = sorted(entry.name for entry in (tmp_path / "0_train").iterdir())
    assert written == [f"{stem}0.npy", f"{stem}1.png", f"{stem}2.json"]
    assert np.load(tmp_path / "0_train" / f"{stem}0.npy").tolist() == [0, 1, 2]
    assert json.loads((tmp_path / "0_train" / f"{stem}2.json").read_text()) == {"a": [1, 2]}


def test_a_run_that_fails_is_written_and_its_exception_comes_first(make_lab: Any, tmp_path: Path) -> None:
    class Bad(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            raise ValueError("no")

    lab = make_lab(results_config=ResultsConfig(tmp_path))
    with pytest.raises(CallbackError, match="no"):
        lab.exp.run_phase(lab.train(callbacks=[Bad()]))
    run = ExperimentRun.load(tmp_path / "0_train" / "run.run.mml")
    assert run.status == "failed" and len(run.results.batch_losses()) == 3
    (tmp_path / "file").touch()
    lab.exp.results_config = ResultsConfig(tmp_path / "file")
    with pytest.raises(CallbackError) as raised:
        lab.exp.run_phase(lab.train(callbacks=[Bad()]))
    assert "could not be written: FileExistsError" in raised.value.__notes__[-1]


def test_it_comes_back_with_the_experiment(make_lab: Any, tmp_path: Path) -> None:
    config = ResultsConfig(tmp_path / "out", save_metrics=True)
    assert from_config(to_config(config)) == config
    lab = make_lab(results_config=config)
    loaded = Experiment.load(lab.exp.save(tmp_path / "e"), overwrite=True)
    assert loaded.results_config == config


def test_what_is_no_folder_and_no_run_is_told(make_lab: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="results_dir must be a path, got 3"):
        ResultsConfig(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="results_config must be a ResultsConfig"):
        Experiment("e", results_config="out")  # type: ignore[arg-type]
    path = codec.save(tmp_path / "odd", "run", {"run": {"label": "x"}})
    with pytest.raises(FileFormatError, match="is no whole run: KeyError"):
        ExperimentRun.load(path)
