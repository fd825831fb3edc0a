"""What comes of a run that was stopped and resumed is what comes of one that was not, to the last bit."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from modularml import (
    AppliedLoss,
    Callback,
    Checkpointing,
    CrossValidation,
    CVBinding,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    PhaseGroup,
    Schedule,
)
from modularml.base.errors import CallbackError, ModularMLWarning, StateError
from modularml.base.events import EpochEnded, RunStarted
from modularml.callbacks import EarlyStopping, Evaluation
from modularml.core.experiment.display_options import QUIET
from modularml.models.torch import SequentialMLP


class Brake(Callback):
    """Stops the run after so many batches of it, or after a phase, by the button that a panel has."""

    after: int | str = -1
    n_seen = 0
    press: Callable[[], None]

    @classmethod
    def attend(cls, exp: Experiment, after: int | str) -> None:
        """Stop the next run of an experiment, of which so many batches are to be done, or a phase."""
        cls.after = after
        exp.events.subscribe(cls._hear)

    @classmethod
    def _hear(cls, event: Any) -> None:
        if isinstance(event, RunStarted):
            cls.press = event.stop

    def on_phase_start(self, *, experiment: Any, phase: Any, results: Any) -> None:
        if Brake.n_seen == Brake.after == 0:
            Brake.press()

    def on_batch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
        Brake.n_seen += 1
        if Brake.n_seen == Brake.after:
            Brake.press()


class Diary(ExperimentCallback):
    """Writes down which hooks were called, and takes it along."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def on_phase_start(self, *, experiment: Any, phase: Any) -> None:
        self.seen.append(f"start {phase.label}")

    def on_phase_end(self, *, experiment: Any, phase: Any) -> None:
        self.seen.append(f"end {phase.label}")
        if phase.label == Brake.after:
            Brake.press()

    def on_group_end(self, *, experiment: Any, group: Any) -> None:
        self.seen.append(f"end {group.label}")

    def on_experiment_start(self, *, experiment: Any) -> None:
        self.seen.append("START")

    def on_experiment_end(self, *, experiment: Any) -> None:
        self.seen.append("END")

    def get_state(self) -> dict[str, Any]:
        return {"seen": list(self.seen)}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


def prepared(make_lab: Any, after: int | str = -1) -> Any:
    """Dropout, shuffling, early stopping, evaluation, a nested group: 9 + 3 + 6 + 2 batches."""
    ExperimentContext().activate()
    torch.manual_seed(7)
    lab = make_lab()
    lab.exp.add_callback(Diary())
    Brake.n_seen = 0
    Brake.attend(lab.exp, after)
    stopping = EarlyStopping(patience=2)
    first = lab.train("a", n_epochs=3, callbacks=[Brake(), Evaluation(eval_phase=lab.evaluate()), stopping])
    inner = [lab.train("b", n_epochs=1, callbacks=[Brake()]), lab.train("c", callbacks=[Brake()])]
    evaluation = lab.evaluate("d", callbacks=[Brake()], batch_size=3)
    lab.exp.execution_plan.add_items([first, PhaseGroup("inner", inner), evaluation])
    return lab


def outcome(exp: Experiment, digest_of: Callable[[Any], str]) -> list[Any]:
    """All that must be the same: weights, optimizers, random numbers, callbacks, results, statuses."""
    state = exp.get_state()
    for run in state["history"]:
        del run["id"], run["started_at"], run["ended_at"], run["paused_s"]
        run["metadata"].pop("resumed", None)
        # It names modules, and those of a test have other names in another process.
        trees = run.pop("fingerprint").values()
        assert sum("parts" not in tree for tree in trees) == len(run["phases"])
        for phase in run["phases"]:
            del phase["started_at"], phase["ended_at"], phase["paused_s"]
        _merge(run["results"])
    assert set(state["unfinished"].values()) == {None}
    return [(key, digest_of(value)) for key, value in state.items() if key != "checkpoints"]


def _merge(results: Any) -> None:
    """Put the outputs of one epoch together, which a run that was stopped recorded in two parts."""
    for entry in results.get("entries", ()):
        _merge(entry)
    if "recording" in results:
        records = results["recording"]["tensors"]
        outputs = [record["outputs"] for record in records]
        results["recording"]["tensors"] = {
            name: np.concatenate([part[name] for part in outputs]) for name in (outputs or [{}])[0]
        }


@pytest.fixture(scope="module")
def reference(make_lab: Any) -> Any:
    lab = prepared(make_lab)
    lab.exp.run(**QUIET)
    assert Brake.n_seen == 20
    return lab


@pytest.mark.parametrize("after", [0, 1, 3, 4, 9, "a", 10, "b", 13, "c", 19, 20])
def test_a_run_that_was_stopped_anywhere_comes_to_the_same(
    after: int | str, make_lab: Any, reference: Any, digest_of: Any, capsys: Any
) -> None:
    lab = prepared(make_lab, after)
    partial = lab.exp.run(**QUIET)
    run = lab.exp.last_run
    assert (run.status, run.results) == ("stopped", partial)
    results = lab.exp.resume(**QUIET)
    assert outcome(lab.exp, digest_of) == outcome(reference.exp, digest_of)
    assert Brake.n_seen == 20
    assert lab.exp.last_run is run
    assert (run.status, run.results) == ("completed", results)
    assert [step["after"] for step in run.metadata["resumed"]] == ["stopped"]
    assert capsys.readouterr().err.count("Resuming 'lab' (stopped): ") == 1


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stops=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True))
def test_a_run_may_be_stopped_and_loaded_again_and_again(
    stops: list[int], make_lab: Any, reference: Any, digest_of: Any, tmp_path_factory: Any
) -> None:
    exp = prepared(make_lab, min(stops)).exp
    exp.run(**QUIET)
    for after in [*sorted(stops)[1:], -1]:
        file = exp.save(tmp_path_factory.mktemp("stopped") / "exp")
        ExperimentContext().activate()
        exp = Experiment.load(file, symbols={"Brake": Brake, "Diary": Diary})
        Brake.attend(exp, after)
        exp.resume(**QUIET)
    assert outcome(exp, digest_of) == outcome(reference.exp, digest_of)
    assert exp.last_run is not None and exp.last_run.status == "completed"
    assert len(exp.last_run.metadata["resumed"]) == len(stops)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from modularml import Experiment
from core.experiment.test_resuming import QUIET, Brake, Diary

exp = Experiment.load({file!r}, symbols={{"Brake": Brake, "Diary": Diary}})
exp.run(resume=True, **QUIET)
exp.save({file!r}, overwrite=True)
"""


@pytest.mark.parametrize("after", [5, 11])
def test_a_new_process_goes_on(
    after: int, make_lab: Any, reference: Any, digest_of: Any, tmp_path: Path
) -> None:
    lab = prepared(make_lab, after)
    lab.exp.run(**QUIET)
    file = lab.exp.save(tmp_path / "exp")
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(tests=str(tests), file=str(file))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Resuming 'lab' (stopped): {'a' if after == 5 else 'inner/b'!r}, epoch" in done.stderr
    ExperimentContext().activate()
    symbols = {"core.experiment.test_resuming.Brake": Brake, "core.experiment.test_resuming.Diary": Diary}
    exp = Experiment.load(file, symbols=symbols)
    assert outcome(exp, digest_of) == outcome(reference.exp, digest_of)


@pytest.mark.parametrize("after", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [None, 7])
def test_gradients_that_add_up_and_schedules_go_on(
    after: int, seed: int | None, make_lab: Any, digest_of: Any
) -> None:
    outcomes = []
    for stop in (-1, after):
        ExperimentContext().activate()
        torch.manual_seed(3)
        lab = make_lab(seed=seed)
        schedule = Schedule("step_lr", schedule_kwargs={"step_size": 1, "gamma": 0.5})
        lab.graph.optimizer = Optimizer("adam", schedule=schedule)
        lab.graph.build()
        phase = lab.train(callbacks=[Brake(), EarlyStopping(monitor="mse")], accumulate=2, clip_norm=0.1)
        lab.exp.execution_plan.add_phase(phase)
        Brake.n_seen = 0
        Brake.attend(lab.exp, stop)
        lab.exp.run(**QUIET)
        lab.exp.run(resume=True, **QUIET) if stop >= 0 else None
        assert lab.exp.last_run.status == "completed"
        outcomes.append(outcome(lab.exp, digest_of))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_the_scale_of_losses_in_fp16_goes_on(
    after: int, make_lab: Any, digest_of: Any, tmp_path: Path
) -> None:
    outcomes, scales = [], []
    for stop in (-1, after):
        ExperimentContext().activate()
        torch.manual_seed(3)
        lab = make_lab()
        lab.graph.optimizer = Optimizer("sgd", opt_kwargs={"lr": 0.01})
        lab.graph.build()
        # So large that the first scales overflow, and the updates are left out.
        huge = AppliedLoss(Loss("mse"), on=lab.node, inputs=["outputs", "targets"], weight=30.0)
        phase = lab.train(losses=[huge], callbacks=[Brake()], accumulate=2, precision="fp16")
        lab.exp.execution_plan.add_phase(phase)
        Brake.n_seen = 0
        Brake.attend(lab.exp, stop)
        exp = lab.exp
        exp.run(**QUIET)
        if stop >= 0:
            file = exp.save(tmp_path / "exp")
            ExperimentContext().activate()
            exp = Experiment.load(file, symbols={"Brake": Brake})
            exp.resume(**QUIET)
        assert exp.last_run is not None and exp.last_run.status == "completed"
        scales.append(exp.model_graph.get_state()["optimizer"]["scaler"]["scale"])
        outcomes.append(outcome(exp, digest_of))
    assert scales[0] == scales[1] < 2**16
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("after", [0, 2, 3])
def test_two_optimizers(after: int, make_lab: Any, digest_of: Any) -> None:
    outcomes = []
    for stop in (-1, after):
        ExperimentContext().activate()
        torch.manual_seed(3)
        lab = make_lab()
        first = ModelNode("one", SequentialMLP(output_shape=(1, 4), dropout=0.2), lab.data, Optimizer("adam"))
        adagrad = Optimizer("adagrad")
        second = ModelNode("two", SequentialMLP(output_shape=(1, 1), dropout=0.2), first, adagrad)
        lab.exp.ctx.remove_model_graph()
        ModelGraph([first, second]).build()
        inputs = ["outputs", "targets"]
        losses = [AppliedLoss(Loss("mse"), on=node, inputs=inputs, label=node.label) for node in (second,)]
        losses.append(AppliedLoss(Loss(_size), on=first, inputs=["outputs"], label="size"))
        lab.exp.execution_plan.add_phase(lab.train(losses=losses, callbacks=[Brake()]))
        Brake.n_seen = 0
        Brake.attend(lab.exp, stop)
        lab.exp.run(**QUIET)
        lab.exp.run(resume=True, **QUIET) if stop >= 0 else None
        assert lab.exp.last_run.status == "completed"
        outcomes.append(outcome(lab.exp, digest_of))
    assert outcomes[0] == outcomes[1]


def _size(outputs: Any) -> Any:
    return outputs.square().mean()


def in_folds(make_lab: Any, after: int | str = -1) -> Any:
    """In a plan: 3 batches before, 2 folds of 4, 3 after."""
    lab = prepared(make_lab, after)
    plan = lab.exp.execution_plan
    plan.clear()
    with lab.exp.ctx.temporary():
        lab.data.fit_transform("StandardScaler", domain="features", fit_to_split="train")
        inner = lab.train("inside", n_epochs=2, callbacks=[Brake(), EarlyStopping(monitor="mse")])
        folds = CrossValidation(bindings=[CVBinding("data", ["train"])], n_folds=2, phase=inner)
    plan.add_items([lab.train("first", n_epochs=1, callbacks=[Brake()]), folds])
    plan.add_phase(lab.train("last", n_epochs=1, callbacks=[Brake()]))
    lab.exp.run(**QUIET)
    return lab


@pytest.fixture(scope="module")
def folded(make_lab: Any) -> Any:
    return in_folds(make_lab)


@pytest.mark.parametrize("after", [0, 2, 8, "inside", 12])
def test_a_fold_goes_on(after: int | str, make_lab: Any, folded: Any, digest_of: Any) -> None:
    lab = in_folds(make_lab, after)
    assert lab.exp.last_run.status == "stopped"
    Brake.after = -1
    lab.exp.resume(**QUIET)
    assert lab.exp.last_run.status == "completed"
    assert outcome(lab.exp, digest_of) == outcome(folded.exp, digest_of)


@pytest.mark.parametrize("after", [4, 8, "inside"])
def test_a_fold_goes_on_in_a_new_process(
    after: int | str, make_lab: Any, folded: Any, digest_of: Any, tmp_path: Path
) -> None:
    file = in_folds(make_lab, after).exp.save(tmp_path / "exp")
    script = SCRIPT.format(tests=str(Path(__file__).parents[2]), file=str(file))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Resuming 'lab' (stopped): 'CV/fold_" in done.stderr
    ExperimentContext().activate()
    symbols = {"core.experiment.test_resuming.Brake": Brake, "core.experiment.test_resuming.Diary": Diary}
    exp = Experiment.load(file, symbols=symbols)
    assert exp.last_run is not None and exp.last_run.status == "completed"
    assert outcome(exp, digest_of) == outcome(folded.exp, digest_of)


def test_a_phase_by_itself_goes_on(make_lab: Any, digest_of: Any) -> None:
    outcomes = []
    for stop in (-1, 4):
        lab = prepared(make_lab, stop)
        phase = lab.train("alone", callbacks=[Brake(), EarlyStopping(monitor="mse")])
        lab.exp.run_phase(phase, **QUIET)
        if stop >= 0:
            with pytest.raises(
                StateError, match=r"'alone', which is not in .* exp.run_phase\(phase, resume=T"
            ):
                lab.exp.resume()
            with pytest.raises(StateError, match="is of 'alone', not of PhaseGroup"):
                lab.exp.run(resume=True)
            lab.exp.run_phase(phase, resume=True, **QUIET)
        outcomes.append(outcome(lab.exp, digest_of))
    assert outcomes[0] == outcomes[1]


def test_folds_by_themselves_say_how_they_go_on(make_lab: Any, digest_of: Any) -> None:
    outcomes = []
    for stop in (-1, 3):
        lab = prepared(make_lab, stop)
        inner = lab.train("inside", n_epochs=2, callbacks=[Brake()])
        folds = CrossValidation("CV", bindings=[CVBinding("data", ["train"])], n_folds=2, phase=inner)
        folds.run(**QUIET)
        if stop >= 0:
            with pytest.raises(
                StateError, match=r"'CV', which is not in the plan.*: cv.run\(resume=True\)\.$"
            ):
                lab.exp.resume()
            folds.run(resume=True, **QUIET)
        outcomes.append(outcome(lab.exp, digest_of))
    assert outcomes[0] == outcomes[1]


def test_work_in_between_is_undone(make_lab: Any, reference: Any, digest_of: Any) -> None:
    lab = prepared(make_lab, 5)
    lab.exp.run(**QUIET)
    lab.exp.preview_phase(lab.train("other"), **QUIET)
    lab.node.reset_weights()
    lab.exp.resume(**QUIET)
    assert outcome(lab.exp, digest_of) == outcome(reference.exp, digest_of)


def test_there_may_be_nothing_to_resume(make_lab: Any) -> None:
    lab = prepared(make_lab)
    with pytest.raises(StateError, match="has no run to resume"):
        lab.exp.resume()
    lab.exp.run(resume=True, **QUIET)
    with pytest.raises(StateError, match="the last one completed"):
        lab.exp.resume()
    assert [run.status for run in lab.exp.history] == ["completed"]


def test_checkpoints_of_phases_that_another_process_left_are_told(make_lab: Any, tmp_path: Path) -> None:
    labs = [make_lab(), make_lab()]
    for lab in labs:
        kept = Checkpointing(mode="disk", directory=None)
        lab.exp.execution_plan.add_phase(lab.train("a", n_epochs=2, checkpointing=kept))
    labs[0].exp.set_checkpoint_dir(tmp_path)
    labs[0].exp.run(**QUIET)
    newest = str(list(labs[0].exp.available_checkpoints.values())[-1])
    with pytest.warns(ModularMLWarning, match=r"2 checkpoint\(s\) of other runs") as told:
        labs[1].exp.set_checkpoint_dir(tmp_path)
    assert f"exp.resume({newest!r})" in str(told[0].message)
    with pytest.raises(StateError) as refused:
        labs[1].exp.resume(**QUIET)
    assert f"exp.resume({newest!r})" in str(refused.value)
    labs[1].exp.resume(newest, **QUIET)
    assert labs[1].exp.last_run.status == "completed"


def test_a_plan_that_changed_is_refused(make_lab: Any) -> None:
    lab = prepared(make_lab, 11)
    lab.exp.run(**QUIET)
    lab.exp.execution_plan.get_group("inner").remove_phase("b")
    with pytest.raises(StateError, match="the plan is another one: .*'b'"):
        lab.exp.resume()
    assert lab.exp.last_run.status == "stopped"


class Crash(Callback):
    """Raises in its second epoch, once."""

    is_armed = True

    def on_epoch_start(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
        if Crash.is_armed and exec_ctx.epoch_idx == 1:
            raise RuntimeError("out of memory")


def test_a_failed_run_goes_on_from_its_newest_checkpoint(
    make_lab: Any, digest_of: Any, tmp_path: Path
) -> None:
    outcomes = []
    for is_armed in (False, True):
        lab = prepared(make_lab)
        Crash.is_armed = is_armed
        lab.exp.set_checkpointing(Checkpointing(directory=tmp_path / str(is_armed)))
        lab.exp.execution_plan.add_phase(lab.train("crashing", callbacks=[Crash()]))
        if is_armed:
            with pytest.raises(CallbackError, match="out of memory"):
                lab.exp.run(**QUIET)
            assert lab.exp.last_run.status == "failed"
            Crash.is_armed = False
            lab.exp.resume(**QUIET)
            assert lab.exp.last_run.error is None
            assert [step["after"] for step in lab.exp.last_run.metadata["resumed"]] == ["failed"]
        else:
            lab.exp.run(**QUIET)
        # A checkpoint holds no outputs, so those of the phases before it are not there.
        for results in lab.exp.last_run.results.flatten().values():
            results.recording.forget_tensors()
            results.recording.n_dropped, results.units = 0, {}
        outcomes.append(outcome(lab.exp, digest_of))
    assert outcomes[0] == outcomes[1]
    assert set(lab.exp.available_checkpoints) == {"a", "b", "c", "d", "crashing"}


def test_a_phase_that_failed_before_its_first_batch_begins_again(
    make_lab: Any, reference: Any, digest_of: Any
) -> None:
    lab = prepared(make_lab)
    phase = lab.exp.execution_plan.get_group("inner").get_phase("c")
    phase.accelerator = "cuda:99"
    with pytest.raises(StateError, match="'cuda:99' is not available"):
        lab.exp.run(**QUIET)
    phase.accelerator = None
    lab.exp.resume(**QUIET)
    assert outcome(lab.exp, digest_of) == outcome(reference.exp, digest_of)


def test_two_experiments_in_threads_are_resumed_each(make_lab: Any) -> None:
    def stopped_and_resumed(label: str) -> Experiment:
        ExperimentContext().activate()
        lab, buttons = make_lab(label), []
        lab.exp.execution_plan.add_phase(lab.train(n_epochs=3))

        def press(event: Any) -> None:
            if isinstance(event, RunStarted):
                buttons.append(event.stop)
            elif isinstance(event, EpochEnded) and len(buttons) == 1:
                buttons[0]()

        lab.exp.events.subscribe(press)
        lab.exp.run(**QUIET)
        lab.exp.resume(**QUIET)
        return lab.exp

    with ThreadPoolExecutor(2) as pool:
        for label, exp in zip("ab", pool.map(stopped_and_resumed, "ab"), strict=True):
            run = exp.last_run
            assert (exp.label, run.status, len(exp.history)) == (label, "completed", 1)
            assert [step["where"] for step in run.metadata["resumed"]] == ["'train', epoch 2"]
            assert len(run.results["train"].batch_losses()) == 9
