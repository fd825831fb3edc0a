import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from modularml import Callback, Experiment, ExperimentCallback, PhaseGroup
from modularml.base.errors import CallbackError, ModularMLError, StateError
from modularml.base.events import (
    BatchesDrawn,
    BatchesEnded,
    EpochEnded,
    EpochStarted,
    Event,
    GroupEnded,
    GroupStarted,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
)


def spy(base: Any, log: list[Any], **arguments: Any) -> Any:
    """Return a callback of a class that logs every hook of its base."""

    def logged(hook: str) -> Any:
        def call(self: Any, **given: Any) -> None:
            about = given.get("phase") or given.get("group")
            log.append((self.label, hook, about.label if about is not None else None))

        return call

    return type("Spy", (base,), {hook: logged(hook) for hook in base.hooks})(**arguments)


class Raiser(Callback):
    """Raises in one hook, on its n-th call."""

    def __init__(self, hook: str, n: int = 1, error: BaseException | None = None) -> None:
        super().__init__("raiser")
        self.hook, self.n, self.error = hook, n, error or ValueError("no good")

    def _call(self, hook: str) -> None:
        self.n -= hook == self.hook
        if hook == self.hook and self.n == 0:
            raise self.error

    def on_phase_start(self, **_: Any) -> None:
        self._call("on_phase_start")

    def on_epoch_start(self, **_: Any) -> None:
        self._call("on_epoch_start")

    def on_batch_start(self, **_: Any) -> None:
        self._call("on_batch_start")

    def on_batch_end(self, **_: Any) -> None:
        self._call("on_batch_end")

    def on_epoch_end(self, **_: Any) -> None:
        self._call("on_epoch_end")

    def on_phase_end(self, **_: Any) -> None:
        self._call("on_phase_end")


PHASE_HOOKS = tuple(hook for hook in Callback.hooks if hook != "on_exception")


class StopAt(Callback):
    """Stops the run at the n-th call of a hook, as the button of a live view does."""

    def __init__(self, exp: Experiment, hook: str, n: int = 1) -> None:
        super().__init__("stopper")
        self.stop: Callable[[], None] = lambda: None
        self.hook, self.n = hook, n
        exp.events.subscribe(self.listen)

    def listen(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.stop = event.stop

    def _call(self, hook: str) -> None:
        self.n -= hook == self.hook
        if hook == self.hook and self.n == 0:
            self.stop()

    on_phase_start = lambda self, **_: self._call("on_phase_start")  # noqa: E731
    on_epoch_start = lambda self, **_: self._call("on_epoch_start")  # noqa: E731
    on_batch_end = lambda self, **_: self._call("on_batch_end")  # noqa: E731
    on_epoch_end = lambda self, **_: self._call("on_epoch_end")  # noqa: E731
    on_phase_end = lambda self, **_: self._call("on_phase_end")  # noqa: E731


# -- completed ---------------------------------------------------------------------------


def test_a_run_of_the_plan_calls_every_hook_in_order(lab: Any) -> None:
    log: list[Any] = []
    lab.exp.add_callback(spy(ExperimentCallback, log, label="late", execution_order=1))
    lab.exp.add_callback(spy(ExperimentCallback, log, label="early"))
    inner = PhaseGroup("inner", [lab.evaluate("b")])
    lab.exp.execution_plan.add_phase(lab.train("a", 1)).add_group(PhaseGroup("outer", [inner]))
    lab.exp.run()
    expected = [
        ("on_experiment_start", None),
        ("on_phase_start", "a"),
        ("on_phase_end", "a"),
        ("on_group_start", "outer"),
        ("on_group_start", "inner"),
        ("on_phase_start", "b"),
        ("on_phase_end", "b"),
        ("on_group_end", "inner"),
        ("on_group_end", "outer"),
        ("on_experiment_end", None),
    ]
    assert log == [(who, *what) for what in expected for who in ("early", "late")]


def test_a_phase_or_a_group_alone_calls_only_its_own_hooks(lab: Any) -> None:
    log: list[Any] = []
    lab.exp.add_callback(spy(ExperimentCallback, log, label="spy"))
    lab.exp.run_phase(lab.evaluate("e"))
    assert log == [("spy", "on_phase_start", "e"), ("spy", "on_phase_end", "e")]
    log.clear()
    lab.exp.run_group(PhaseGroup("g", [lab.evaluate("e")]))
    assert [hook for _, hook, _ in log] == [
        "on_group_start",
        "on_phase_start",
        "on_phase_end",
        "on_group_end",
    ]
    log.clear()
    lab.exp.execution_plan.add_phase(lab.evaluate("e"))
    lab.exp.run_group(lab.exp.execution_plan)
    assert log[0] == ("spy", "on_group_start", "lab")
    assert log[-1] == ("spy", "on_group_end", "lab")


def test_a_phase_calls_its_callbacks_in_order_with_what_they_may_look_at(lab: Any) -> None:
    log: list[Any] = []
    seen: list[Any] = []

    class Looker(Callback):
        def on_batch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
            outputs, loss = exec_ctx.outputs["net"], exec_ctx.losses["mse"]
            seen.append((exec_ctx.epoch_idx, exec_ctx.batch_idx, tuple(outputs.shape), float(loss)))
            assert (experiment, phase.label, results.label) == (lab.exp, "train", "train")

    results = lab.exp.run_phase(lab.train(n_epochs=2, callbacks=[spy(Callback, log, label="s"), Looker()]))
    batch = ["on_batch_start", "on_batch_end"]
    epoch = ["on_epoch_start", *batch * 3, "on_epoch_end"]
    assert [hook for _, hook, _ in log] == ["on_phase_start", *epoch * 2, "on_phase_end"]
    assert [entry[:3] for entry in seen] == [(e, b, (6, 1, 1)) for e in range(2) for b in range(3)]
    assert [entry[3] for entry in seen] == pytest.approx(results.batch_losses().tolist())


@pytest.mark.parametrize("watches", [False, True])
def test_callbacks_know_where_in_an_epoch_they_are_and_end_the_phase_with_it(lab: Any, watches: bool) -> None:
    seen: list[Any] = []

    class Ends(Callback):
        def on_epoch_start(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
            seen.append(("start", exec_ctx.epoch_idx, exec_ctx.batch_idx, phase.is_epoch_end()))

        def on_epoch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
            seen.append(("end", exec_ctx.batch_idx, exec_ctx.n_batches, exec_ctx.is_epoch_end()))
            if exec_ctx.epoch_idx == 1:
                phase.request_stop()

    class Watches(Callback):
        def on_batch_end(self, *, experiment: Any, phase: Any, exec_ctx: Any, results: Any) -> None:
            seen.append(phase.is_epoch_end())

    phase = lab.train(n_epochs=4, callbacks=[Ends(), *([Watches()] if watches else [])])
    for end in (phase.request_stop, phase.is_epoch_end):
        with pytest.raises(StateError, match="TrainPhase 'train' does not run now"):
            end()
    results = lab.exp.run_phase(phase)
    batches = [False, False, True] * watches
    epochs = [[("start", i, 0, False), *batches, ("end", 2, 3, True)] for i in range(2)]
    assert seen == epochs[0] + epochs[1]
    assert (results.n_epochs, lab.exp.last_run.status) == (2, "completed")
    with pytest.raises(StateError, match="does not run now"):
        phase.request_stop()


def test_the_events_of_a_run_nest_as_the_plan_does(lab: Any) -> None:
    kinds: list[type[Event]] = []
    lab.exp.events.subscribe(lambda event: kinds.append(type(event)))
    lab.exp.execution_plan.add_group(PhaseGroup("g", [lab.train(n_epochs=1)]))
    lab.exp.run()
    several = {(BatchesEnded, BatchesEnded)}  # how many tell of batches is a matter of time
    assert [kind for before, kind in pairwise([None, *kinds]) if (before, kind) not in several] == [
        *(RunStarted, GroupStarted, GroupStarted, PhaseStarted, EpochStarted, BatchesDrawn),
        *(BatchesEnded, EpochEnded, PhaseEnded, GroupEnded, GroupEnded, RunEnded),
    ]


# -- stopped -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "n", "n_epochs", "n_batches"),
    [
        ("on_phase_start", 1, 0, 0),
        ("on_epoch_start", 1, 1, None),
        ("on_batch_end", 2, 1, 2),
        ("on_batch_end", 5, 2, 5),
        ("on_epoch_end", 1, 1, 3),
    ],
)
def test_a_stop_ends_the_run_there_with_its_hooks_and_partial_results(
    lab: Any, hook: str, n: int, n_epochs: int, n_batches: int | None
) -> None:
    log: list[Any] = []
    phase_log: list[Any] = []
    lab.exp.add_callback(spy(ExperimentCallback, log))
    callbacks = [StopAt(lab.exp, hook, n), spy(Callback, phase_log)]
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=4, callbacks=callbacks)).add_phase(lab.evaluate())
    results = lab.exp.run()
    assert results is lab.exp.last_run.results
    assert results.labels == ["train"]
    assert results["train"].n_epochs == n_epochs
    if n_batches is not None:
        assert len(results["train"].batch_losses()) == n_batches
    run = lab.exp.last_run
    assert (run.status, run.error, [p.status for p in run.phases]) == ("stopped", None, ["stopped"])
    assert [h for _, h, _ in log] == [
        "on_experiment_start", "on_phase_start", "on_phase_end", "on_experiment_end"
    ]  # fmt: skip
    assert phase_log[-1][1] == "on_phase_end"
    assert lab.exp.epochs_done == {"train": n_epochs}
    assert lab.exp.run().labels == ["train", "eval"]


def test_a_stop_from_another_thread(lab: Any) -> None:
    class Waiter(Callback):
        def on_batch_end(self, **_: Any) -> None:
            pressed.wait(10)

    pressed = threading.Event()

    def press(event: Event) -> None:
        if isinstance(event, RunStarted):
            threading.Thread(target=lambda: (event.stop(), pressed.set())).start()

    lab.exp.events.subscribe(press)
    results = lab.exp.run_phase(lab.train(n_epochs=50, callbacks=[Waiter()]))
    assert lab.exp.last_run.status == "stopped"
    assert len(results.batch_losses()) <= 1


def test_a_stop_when_all_is_done_leaves_the_run_complete(lab: Any) -> None:
    class Late(ExperimentCallback):
        def on_phase_end(self, **_: Any) -> None:
            stop.stop()

    stop = StopAt(lab.exp, "on_phase_start", 99)
    lab.exp.add_callback(Late())
    lab.exp.run_phase(lab.evaluate())
    assert lab.exp.last_run.status == "completed"


# -- interrupted -------------------------------------------------------------------------


class Interrupter(Callback):
    """Presses Ctrl-C at the end of the first batches."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def on_batch_end(self, **_: Any) -> None:
        if self.n:
            self.n -= 1
            os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_stops_and_the_second_raises(lab: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    results = lab.exp.run_phase(lab.train(callbacks=[Interrupter(1)]))
    assert lab.exp.last_run.status == "stopped"
    assert len(results.batch_losses()) == 1
    assert signal.getsignal(signal.SIGINT) is before

    class Twice(Interrupter):
        def on_batch_end(self, **_: Any) -> None:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    log: list[Any] = []
    phase = lab.train("again", callbacks=[Twice(2), spy(Callback, log)])
    with pytest.raises(KeyboardInterrupt):
        lab.exp.run_phase(phase)
    run = lab.exp.last_run
    assert (run.status, run.error, run.phases[0].status) == (
        "interrupted",
        "KeyboardInterrupt",
        "interrupted",
    )
    assert len(run.results.batch_losses()) == 1
    assert log[-1][1] == "on_exception"
    assert signal.getsignal(signal.SIGINT) is before
    assert lab.exp.run_phase(lab.evaluate()).n_batches == 1


def test_a_real_interrupt_of_a_process_finishes_the_batch_and_returns() -> None:
    program = """
import os, signal, sys
import numpy as np
from modularml import *
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler

# A shell may have started this process with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
exp = Experiment("exp")
data = FeatureSet.from_dict("d", {"x": np.ones((8, 2)), "y": np.ones(8)}, "x", "y")
data.split_random(ratios={"a": 0.5, "b": 0.5}, seed=0)
node = ModelNode("n", SequentialMLP(), data.reference(features="x", targets="y"))
ModelGraph(nodes=[node], optimizer=Optimizer("sgd", opt_kwargs={"lr": 0.1})).build()
loss = AppliedLoss(Loss("mse"), on=node)

begun, ended = [], []

class Tell(Callback):
    def on_epoch_start(self, *, exec_ctx, **_):
        if exec_ctx.epoch_idx == 1:
            print("ready", flush=True)
    def on_batch_start(self, **_):
        begun.append(1)
    def on_batch_end(self, **_):
        ended.append(1)
    def on_phase_end(self, **_):
        print("phase end", flush=True)

plan = exp.execution_plan
binding = InputBinding.for_training(node=node, sampler=SimpleSampler(batch_size=2))
plan.add_train_phase("long", input_sources=[binding], losses=[loss], n_epochs=10**6, callbacks=[Tell()])
plan.add_phase(EvalPhase.from_split("never", split="a"))
results = exp.run(show_training_progress=False, show_sampler_progress=False)
n_batches = len(results["long"].batch_losses())
print(exp.last_run.status, results.labels, n_batches >= 4, len(begun) == len(ended) == n_batches)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest.splitlines() == ["phase end", "stopped ['long'] True True"]


def test_a_run_off_the_main_thread_leaves_the_signals_alone(lab: Any) -> None:
    before, handlers = signal.getsignal(signal.SIGINT), []

    class Look(Callback):
        def on_phase_start(self, **_: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=lab.exp.run_phase, args=[lab.train(callbacks=[Look()])])
    thread.start()
    thread.join()
    assert handlers == [before]
    assert lab.exp.last_run.status == "completed"


# -- failed ------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", PHASE_HOOKS)
def test_a_callback_that_raises_stops_the_run_with_its_name(lab: Any, hook: str) -> None:
    log: list[Any] = []
    lab.exp.add_callback(spy(ExperimentCallback, log, label="exp"))
    phase = lab.train(callbacks=[Raiser(hook), spy(Callback, log, label="phase", execution_order=1)])
    lab.exp.execution_plan.add_phase(lab.evaluate("first")).add_phase(phase).add_phase(lab.evaluate("last"))
    with pytest.raises(CallbackError, match=f"'raiser' raised in {hook}: ValueError: no good") as caught:
        lab.exp.run()
    assert isinstance(caught.value, ModularMLError)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__notes__ == ["raised in phase 'lab/train' of experiment 'lab'"]
    run = lab.exp.last_run
    assert run.status == "failed"
    assert run.error == f"CallbackError: {caught.value}"
    assert [(p.path, p.status) for p in run.phases] == [
        (("lab", "first"), "completed"), (("lab", "train"), "failed")
    ]  # fmt: skip
    assert run.results.labels == ["first", "train"]
    assert run.results["first"].n_batches == 1
    assert log[-2:] == [("phase", "on_exception", "train"), ("exp", "on_exception", "train")]
    assert [who for who, called, _ in log if called == "on_exception"] == ["phase", "exp"]
    assert all(p.requires_grad for p in lab.node.module.parameters())
    assert lab.node.module.training
    assert lab.exp.run_phase(lab.train("after")).n_epochs == 2


@pytest.mark.parametrize("hook", PHASE_HOOKS)
def test_flags_are_put_back_before_anyone_is_told(lab: Any, hook: str) -> None:
    """An evaluation puts models in evaluation mode and needs no gradients."""
    flags: list[Any] = []

    class Look(ExperimentCallback):
        def on_exception(self, **_: Any) -> None:
            module = lab.node.module
            flags.append((module.training, all(p.requires_grad for p in module.parameters())))

    lab.exp.add_callback(Look())
    with pytest.raises(CallbackError):
        lab.exp.run_phase(lab.evaluate(callbacks=[Raiser(hook)]))
    assert flags == [(True, True)]


@pytest.mark.parametrize("hook", [h for h in ExperimentCallback.hooks if h != "on_exception"])
def test_an_experiment_callback_that_raises_is_told_of_and_all_others_are_told(lab: Any, hook: str) -> None:
    log: list[Any] = []
    bad = type("Bad", (ExperimentCallback,), {hook: lambda self, **_: 1 / 0})()
    lab.exp.add_callback(spy(ExperimentCallback, log))
    lab.exp.add_callback(bad)
    lab.exp.execution_plan.add_group(PhaseGroup("g", [lab.evaluate()]))
    with pytest.raises(CallbackError, match=f"'Bad' raised in {hook}: ZeroDivisionError"):
        lab.exp.run()
    assert log[-1][1:] == ("on_exception", "eval" if "phase" in hook else None)
    assert lab.exp.last_run.status == "failed"
    assert lab.exp.last_run.ended_at is not None


def test_a_failing_on_exception_hides_nothing(lab: Any) -> None:
    class Bad(ExperimentCallback):
        def on_exception(self, **_: Any) -> None:
            raise OSError("disk full")

    class BadInPhase(Callback):
        def on_exception(self, **_: Any) -> None:
            raise OSError("gone")

    log: list[Any] = []
    lab.exp.add_callback(Bad())
    lab.exp.add_callback(spy(ExperimentCallback, log))
    phase = lab.train(callbacks=[BadInPhase(), Raiser("on_batch_end"), spy(Callback, log)])
    with pytest.raises(CallbackError, match="no good") as caught:
        lab.exp.run_phase(phase)
    assert [hook for _, hook, _ in log if hook == "on_exception"] == ["on_exception"] * 2
    assert caught.value.__notes__[1:] == [
        "'BadInPhase' failed in on_exception: OSError: gone",
        "'Bad' failed in on_exception: OSError: disk full",
    ]


class Bomb(torch.nn.Module):
    """Raises in its n-th forward pass."""

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.n -= 1
            if self.n == 0:
                raise ArithmeticError("boom")
        return self.layer(x)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_model_that_raises_leaves_what_was_done_before_on_record(make_lab: Any, n: int) -> None:
    lab = make_lab(model=Bomb(n))
    with pytest.raises(ArithmeticError, match="boom"):
        lab.exp.run_phase(lab.train())
    run = lab.exp.last_run
    assert (run.status, run.error) == ("failed", "ArithmeticError: boom")
    assert len(run.results.batch_losses()) == n - 1
    assert run.phases[0].ended_at is not None
    assert lab.exp.run_phase(lab.train("after")).n_epochs == 2


@pytest.mark.parametrize("as_group", [False, True])
def test_a_traceback_passes_by_what_lies_between_the_call_and_the_phase(
    make_lab: Any, as_group: bool
) -> None:
    lab = make_lab(model=Bomb(2))
    group = PhaseGroup("group")
    group.add_phase(lab.train())
    with pytest.raises(ArithmeticError) as caught:
        lab.exp.run_group(group) if as_group else lab.exp.run_phase(lab.train())
    shown = [frame.path.name for frame in caught.traceback.filter(caught)]  # as IPython filters them, too
    assert "experiment.py" in shown and not {"runs.py", "runner.py"} & set(shown)


def test_a_phase_that_cannot_begin_is_recorded_too(lab: Any) -> None:
    phase = lab.train()
    lab.node.freeze()
    with pytest.raises(ModularMLError, match="nothing to train"):
        lab.exp.run_phase(phase)
    assert (lab.exp.last_run.status, lab.exp.last_run.results) == ("failed", None)
    assert lab.exp.epochs_done == {}


def test_a_listener_that_fails_does_not_end_the_run(lab: Any) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("audience")

    lab.exp.events.subscribe(fail)
    with pytest.warns(UserWarning, match="audience"):
        lab.exp.run_phase(lab.evaluate())
    assert lab.exp.last_run.status == "completed"


def test_a_phase_that_fails_within_an_epoch_tells_how_far_it_came(lab: Any) -> None:
    ended: list[PhaseEnded] = []
    lab.exp.events.subscribe(lambda event: ended.append(event) if isinstance(event, PhaseEnded) else None)
    with pytest.raises(CallbackError):
        lab.exp.run_phase(lab.train(n_epochs=3, callbacks=[Raiser("on_batch_end", 5)]))
    assert (ended[0].status, ended[0].reached) == ("failed", (1, 2))
    assert ended[0].metrics == lab.exp.last_run.results.final()


def test_epochs_are_counted_for_train_phases_only(lab: Any) -> None:
    lab.exp.run_phase(lab.train("step", 3))
    lab.exp.run_phase(lab.evaluate("step"))
    lab.exp.run_phase(lab.train("step", 2))
    assert lab.exp.epochs_done == {"step": 5}


def test_events_tell_what_runs_where_how_fast_and_how_it_looks(lab: Any) -> None:
    events: list[Any] = []
    lab.exp.events.subscribe(events.append)
    phase = lab.train(n_epochs=1)
    lab.exp.run_phase(phase)
    of = {type(event): event for event in events}
    (entry,) = of[RunStarted].plan
    assert entry.draw().mermaid == phase.diagram().mermaid
    assert [box.id for box in entry.draw().boxes] == [box.id for box in phase.diagram().spec.nodes]
    assert of[PhaseStarted].devices == {"net": "cpu"}
    assert of[PhaseStarted].rates == {"lr": 0.01}
    assert of[BatchesDrawn].n_batches == of[PhaseStarted].n_batches == 3
    assert sum(event.n_samples for event in events if isinstance(event, BatchesEnded)) == 18
    assert of[PhaseEnded].reached == (0, 3)
