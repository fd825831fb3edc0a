import gc
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modularml import (
    Callback,
    EvalPhase,
    Experiment,
    ExperimentCallback,
    ExperimentContext,
    FeatureSet,
    ModelGraph,
    ModelNode,
    PhaseGroup,
    RegistrationPolicy,
)
from modularml.base.errors import (
    CallbackError,
    DuplicateLabelError,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    StateError,
    UnknownNameError,
)
from modularml.base.events import DisplayOptions, RunStarted
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler


class Counter(Callback):
    """Counts epochs, and remembers the count."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def on_epoch_end(self, **_: Any) -> None:
        self.n += 1

    def get_state(self) -> dict[str, Any]:
        return {"n": self.n}

    def set_state(self, state: dict[str, Any]) -> None:
        self.n = state["n"]


class Lister(Counter):
    """Hands out its own list as its state."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def on_epoch_end(self, *, exec_ctx: Any, **_: Any) -> None:
        self.seen.append(exec_ctx.epoch_idx)

    def get_state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class RunCounter(ExperimentCallback):
    """Counts phases, and remembers the count."""

    def __init__(self, label: str | None = None, execution_order: int = 0) -> None:
        super().__init__(label, execution_order)
        self.n = 0

    def on_phase_end(self, **_: Any) -> None:
        self.n += 1

    get_state = Counter.get_state
    set_state = Counter.set_state


class Fails(Callback):
    def on_epoch_end(self, **_: Any) -> None:
        raise ValueError("no good")


# -- making one --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda exp: exp.run(stale=True), "Did you mean 'stale_only'?"),
        (lambda exp: exp.run(show_training_progres=False), "Did you mean 'show_training_progress'?"),
        (
            lambda exp: exp.run(n_epochs=5),
            "Unknown display option 'n_epochs'.*What phases do is said to them",
        ),
        (lambda exp: exp.run_phase(exp.execution_plan, resum=True), "Did you mean 'resume'?"),
        (lambda exp: exp.resume(chekpoint="a"), "Did you mean 'checkpoint'?"),
    ],
)
def test_a_misspelt_option_is_told_with_all_that_the_method_takes(lab, call, words):
    with pytest.raises(InvalidTypeError, match=words.replace("?", "[?]")):
        call(lab.exp)


def test_a_new_one_has_an_empty_context_that_is_active() -> None:
    exp = Experiment("e")
    assert ExperimentContext.get_active() is exp.ctx
    assert exp.ctx.experiment is exp
    assert (dict(exp.ctx.nodes), exp.model_graph, exp.history, exp.last_run) == ({}, None, [], None)
    assert (exp.checkpointing, exp.available_checkpoints, exp.exp_callbacks) == (None, {}, [])
    assert exp.execution_plan.label == "e"
    assert repr(exp) == "Experiment(label='e', phases=0, runs=0)"


@pytest.mark.parametrize(
    "arguments",
    [
        {"label": ""},
        {"label": 3},
        {"label": "e", "registration_policy": "overwritten"},
        {"label": "e", "ctx": "ctx"},
        {"label": "e", "checkpointing": "phase_end"},
        {"label": "e", "callbacks": [Callback()]},
        {"label": "e", "callbacks": RunCounter()},
    ],
)
def test_one_that_cannot_be_made_changes_nothing(arguments: dict[str, Any]) -> None:
    active = ExperimentContext.get_active()
    with pytest.raises((InvalidTypeError, InvalidValueError)):
        Experiment(**arguments)
    assert ExperimentContext.get_active() is active
    given = ExperimentContext(registration_policy="raise")
    with pytest.raises((InvalidTypeError, InvalidValueError)):
        Experiment(**{"ctx": given, **arguments})
    assert (given.experiment, given.registration_policy) == (None, "raise")


def test_callbacks_are_kept_in_order_of_execution() -> None:
    late, early, same = RunCounter("late", 5), RunCounter("early", -1), RunCounter("same", 5)
    exp = Experiment("e", callbacks=[late, early])
    exp.add_callback(same)
    assert exp.exp_callbacks == [early, late, same]
    exp.exp_callbacks.clear()
    assert len(exp.exp_callbacks) == 3
    with pytest.raises(InvalidTypeError, match="Experiment 'e': callbacks must be of class ExperimentC"):
        exp.add_callback(Counter())  # type: ignore[arg-type]
    exp.remove_callback("early")
    exp.remove_callback(same)
    assert exp.exp_callbacks == [late]
    with pytest.raises(UnknownNameError, match="Unknown callback 'lat' in Experiment 'e'.*mean 'late'"):
        exp.remove_callback("lat")


def test_from_active_context_keeps_the_nodes() -> None:
    node = FeatureSet.from_dict("d", {"x": [1.0, 2.0]}, "x")
    exp = Experiment.from_active_context("e", registration_policy="rename")
    assert exp.ctx.get_node("d") is node
    assert exp.ctx.registration_policy == "rename"
    with pytest.raises(InvalidValueError, match="belongs to the experiment 'e'.*overwrite=True"):
        Experiment.from_active_context("f")
    other = Experiment.from_active_context("f", overwrite=True)
    assert (other.ctx, other.ctx.experiment, other.ctx.registration_policy) == (exp.ctx, other, "rename")
    del exp, other
    gc.collect()
    assert Experiment.from_active_context("g").label == "g"


def test_a_context_has_one_experiment_unless_the_policy_lets_it_be_replaced() -> None:
    first = Experiment("first", registration_policy="raise")
    with pytest.raises(InvalidValueError, match="belongs to the experiment 'first'"):
        Experiment("second", ctx=first.ctx)
    assert first.ctx.experiment is first
    ExperimentContext().activate()
    second = Experiment("second", "overwrite", ctx=first.ctx)
    assert ExperimentContext.get_active() is not first.ctx
    assert first.ctx.experiment is second
    assert first.ctx.registration_policy == "overwrite"


@pytest.mark.parametrize("policy", RegistrationPolicy.ALLOWED)
def test_the_policy_decides_when_a_label_is_taken(policy: str) -> None:
    exp = Experiment("e", registration_policy=policy)

    def cell() -> Any:
        data = FeatureSet.from_dict("d", {"x": [[1.0], [2.0]]}, "x")
        node = ModelNode("n", torch.nn.Linear(1, 1), data.reference())
        return ModelGraph([node], label="g"), node

    first = cell()
    if policy == "raise":
        with pytest.raises(DuplicateLabelError):
            cell()
        assert (exp.model_graph, exp.ctx.get_node("n")) == first
        return
    second = cell()
    assert exp.model_graph is second[0]
    labels = ["d", "n"] if policy == "overwrite" else ["d", "n", "d_2", "n_2"]
    assert list(exp.ctx.nodes) == labels
    assert exp.ctx.get_node(labels[-1]) is second[1]


# -- running -----------------------------------------------------------------------------


def test_an_empty_plan_or_group_is_refused_and_not_recorded(lab: Any) -> None:
    for run in (lab.exp.run, lab.exp.preview_run):
        with pytest.raises(StateError, match="plan of experiment 'lab' is empty"):
            run()
    group = PhaseGroup("g", [PhaseGroup("h")])
    for run in (lab.exp.run_group, lab.exp.preview_group):
        with pytest.raises(StateError, match="holds no phase"):
            run(group)
    assert lab.exp.history == []


def test_a_phase_whose_graph_is_gone_says_so(lab: Any) -> None:
    phases = [lab.train(), lab.evaluate()]
    lab.exp.ctx.remove_model_graph()
    for phase in phases:
        for run in (lab.exp.run_phase, lab.exp.preview_phase):
            with pytest.raises(StateError, match=rf"{phase.label}.* has no ModelGraph"):
                run(phase)


def test_what_is_no_phase_or_no_group_is_refused(lab: Any) -> None:
    group = PhaseGroup("g", [lab.evaluate()])
    for run in (lab.exp.run_phase, lab.exp.preview_phase):
        for wrong in (group, "eval", None):
            with pytest.raises(InvalidTypeError, match="takes a phase, got"):
                run(wrong)
    for run in (lab.exp.run_group, lab.exp.preview_group):
        with pytest.raises(InvalidTypeError, match="takes a PhaseGroup"):
            run(lab.evaluate())
    assert lab.exp.history == []


def test_a_phase_of_another_experiment_is_refused_everywhere(make_lab: Any) -> None:
    one, two = make_lab("one"), make_lab("two")
    foreign = two.evaluate()
    one.exp.execution_plan.add_group(PhaseGroup("g", [foreign]))
    for run, entry in [
        (one.exp.run_phase, [foreign]),
        (one.exp.preview_phase, [foreign]),
        (one.exp.run_group, [PhaseGroup("h", [foreign])]),
        (one.exp.preview_group, [PhaseGroup("h", [foreign])]),
        (one.exp.run, []),
        (one.exp.preview_run, []),
    ]:
        with pytest.raises(InvalidValueError, match="defined in another experiment than 'one'"):
            run(*entry)
    assert one.exp.history == []


OPTIONS = {
    "show_sampler_progress": False,
    "show_training_progress": False,
    "show_eval_progress": True,
    "persist_progress": False,
    "persist_epoch_progress": True,
    "val_loss_metric": "val",
}


def test_every_run_takes_every_display_option_and_no_other_keyword(lab: Any) -> None:
    assert set(OPTIONS) == set(DisplayOptions.__dataclass_fields__)
    lab.exp.execution_plan.add_phase(lab.train())
    group = PhaseGroup("g", [lab.evaluate()])
    seen: list[DisplayOptions] = []
    lab.exp.events.subscribe(lambda event: seen.append(event.options) if type(event) is RunStarted else None)
    calls = [
        (lab.exp.run, []),
        (lab.exp.preview_run, []),
        (lab.exp.run_phase, [lab.evaluate()]),
        (lab.exp.preview_phase, [lab.evaluate()]),
        (lab.exp.run_group, [group]),
        (lab.exp.preview_group, [group]),
    ]
    for run, entry in calls:
        run(*entry, **OPTIONS)
        with pytest.raises(
            InvalidTypeError, match="'show_trainig_progress'.*Did you mean 'show_training_pro"
        ):
            run(*entry, show_trainig_progress=True)
        with pytest.raises(
            InvalidTypeError, match="2 faults(.|\n)*must be a bool, got 'no'(.|\n)*a str, got 3"
        ):
            run(*entry, show_eval_progress="no", persist_progress=None, val_loss_metric=3)
    assert seen == [DisplayOptions(**OPTIONS)] * len(calls)
    assert len(lab.exp.history) == 3


def test_one_experiment_does_one_thing_at_a_time(lab: Any, tmp_path: Any) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    lab.exp.save_checkpoint("before")
    refused = []

    class Nested(Callback):
        def on_epoch_end(self, *, experiment: Any, **_: Any) -> None:
            calls: list[Callable[[], Any]] = [
                lambda: experiment.run_phase(inner),
                lambda: experiment.preview_phase(inner),
                lambda: experiment.restore_checkpoint("before"),
                lambda: experiment.set_state(experiment.get_state()),
            ]
            for call in calls:
                with pytest.raises(StateError, match="'lab' is running") as caught:
                    call()
                refused.append(caught)

    inner = lab.evaluate()
    lab.exp.run_phase(lab.train(n_epochs=1, callbacks=[Nested()]))
    assert len(refused) == 4
    assert [run.label for run in lab.exp.history] == ["train"]
    lab.exp.run_phase(inner)


def test_a_second_thread_is_refused_while_a_run_goes_on(lab: Any) -> None:
    started, refused = threading.Event(), threading.Event()

    class Wait(Callback):
        def on_phase_start(self, **_: Any) -> None:
            started.set()
            refused.wait(10)

    thread = threading.Thread(target=lab.exp.run_phase, args=[lab.train(callbacks=[Wait()])])
    thread.start()
    started.wait(10)
    with pytest.raises(StateError, match="'lab' is running"):
        lab.exp.run_phase(lab.evaluate())
    refused.set()
    thread.join()
    assert [(run.label, run.status) for run in lab.exp.history] == [("train", "completed")]


def test_experiments_with_equal_labels_in_threads_do_not_touch_each_other(make_lab: Any) -> None:
    """Without dropout, as torch has one generator for all threads."""
    from modularml.models.torch import SequentialMLP

    def result(n_epochs: int, together: list[Callable[[], None]] | None = None) -> Any:
        torch.manual_seed(n_epochs)
        lab = make_lab("same", model=SequentialMLP(output_shape=(1, 1), hidden_dim=4))
        lab.exp.execution_plan.add_phase(lab.train(n_epochs=n_epochs)).add_phase(lab.evaluate())
        if together is None:
            lab.exp.run()
        else:
            together.append(lab.exp.run)
        return lab

    alone = [result(n) for n in (4, 7, 9)]
    runs: list[Callable[[], None]] = []
    side_by_side = [result(n, runs) for n in (4, 7, 9)]
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, side_by_side, strict=True):
        assert one.weights() == other.weights()
        assert one.exp.last_run.results["train"].final() == other.exp.last_run.results["train"].final()
        assert (len(other.exp.history), other.exp.last_run.status) == (1, "completed")


# -- random numbers ----------------------------------------------------------------------


def test_runs_leave_the_global_generators_alone(lab: Any, generators: Callable[[], str]) -> None:
    before = generators()
    lab.exp.run_phase(lab.train())
    with pytest.raises(CallbackError):
        lab.exp.run_phase(lab.train("f", callbacks=[Fails()]))
    assert generators() == before


def test_dropout_repeats_with_torchs_seed_and_the_label(make_lab: Any) -> None:
    def losses(label: str, seed: int) -> list[float]:
        lab = make_lab(label)
        torch.manual_seed(seed)
        losses: list[float] = lab.exp.run_phase(lab.train()).batch_losses().tolist()
        return losses

    assert losses("a", 1) == losses("a", 1)
    assert losses("a", 1) != losses("a", 2)
    assert losses("a", 1) != losses("b", 1)


def test_ten_epochs_are_five_and_five(make_lab: Any) -> None:
    whole, halves = make_lab(), make_lab()
    one = whole.exp.run_phase(whole.train(n_epochs=10)).batch_losses().tolist()
    half = halves.train(n_epochs=5)
    other = [halves.exp.run_phase(half).batch_losses().tolist() for _ in range(2)]
    assert one == other[0] + other[1]
    assert whole.weights() == halves.weights()


# -- preview -----------------------------------------------------------------------------


def previews(lab: Any, callbacks: list[Callback]) -> list[tuple[Callable[..., Any], list[Any]]]:
    train = lab.train("t", callbacks=callbacks)
    group = PhaseGroup("g", [PhaseGroup("h", [train]), lab.evaluate("e")])
    return [
        (lab.exp.preview_phase, [train]),
        (lab.exp.preview_phase, [lab.evaluate(callbacks=callbacks)]),
        (lab.exp.preview_group, [group]),
        (lab.exp.preview_run, []),
    ]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("ending", ["completed", "failed", "stopped", "interrupted"])
def test_a_preview_leaves_no_trace(lab: Any, tmp_path: Any, which: int, ending: str) -> None:
    from modularml import Checkpointing

    class End(Callback):
        def on_epoch_end(self, **_: Any) -> None:
            if ending == "failed":
                raise ValueError("no good")
            if ending == "interrupted":
                raise KeyboardInterrupt
            if ending == "stopped":
                started[0].stop()

    started: list[Any] = []
    lab.exp.events.subscribe(lambda event: started.append(event) if type(event) is RunStarted else None)
    counter, planned = Counter(), Counter()
    lab.exp.add_callback(RunCounter())
    lab.exp.execution_plan.add_phase(lab.train("planned", callbacks=[planned, End()]))
    lab.exp.run_phase(lab.train("before"))
    lab.exp.set_checkpointing(Checkpointing(directory=tmp_path))
    started.clear()
    before = lab.everything()
    run, entry = previews(lab, [counter, End()])[which]
    if ending in ("failed", "interrupted"):
        with pytest.raises((CallbackError, KeyboardInterrupt)):
            run(*entry)
    else:
        assert run(*entry) is not None
    assert started[0].preview
    assert lab.everything() == before
    assert counter.n == planned.n == 0
    assert list(tmp_path.iterdir()) == []
    assert len(lab.exp.history) == 1


@pytest.mark.parametrize("is_fitted", [False, True])
def test_a_preview_of_a_fit_leaves_no_trace(fit_lab: Any, is_fitted: bool) -> None:
    if is_fitted:
        fit_lab.exp.run_phase(fit_lab.fit())
    before = fit_lab.everything()
    results = fit_lab.exp.preview_phase(fit_lab.fit(split="test"))
    assert results.aggregated_losses()["mse"] >= 0
    assert fit_lab.everything() == before
    assert fit_lab.node.is_frozen == is_fitted


def test_a_preview_is_what_the_run_after_it_is(lab: Any) -> None:
    phase = lab.train()
    previewed = lab.exp.preview_phase(phase).batch_losses().tolist()
    assert lab.exp.preview_phase(phase).batch_losses().tolist() == previewed
    assert lab.exp.run_phase(phase).batch_losses().tolist() == previewed


def test_a_preview_of_the_first_training_leaves_the_optimizer_without_moments(lab: Any) -> None:
    lab.exp.preview_phase(lab.train())
    assert lab.graph.get_state()["optimizer"]["state"] == {}


# -- configuration and state -------------------------------------------------------------


def test_configuration_round_trip(lab: Any, tmp_path: Any) -> None:
    from modularml import Checkpointing

    lab.exp.add_callback(RunCounter("mine", 2))
    lab.exp.set_checkpointing(Checkpointing(save_on="experiment_end", directory=tmp_path))
    inner = PhaseGroup("inner", [lab.evaluate(batch_size=4)])
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=7)).add_group(PhaseGroup("outer", [inner]))
    config = lab.exp.get_config()
    lab.exp.ctx.set_registration_policy("overwrite")
    again = Experiment.from_config(config | {"registration_policy": "overwrite"}, ctx=lab.exp.ctx)
    assert again.get_config() == lab.exp.get_config()
    assert [type(c) for c in again.exp_callbacks] == [RunCounter]
    assert again.checkpointing == lab.exp.checkpointing
    again.run()
    assert list(again.last_run.results.flatten()) == ["train", "eval"]


def test_a_configuration_whose_nodes_are_not_there_is_refused(lab: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.evaluate())
    ctx = ExperimentContext()
    with pytest.raises((UnknownNameError, StateError)):
        Experiment.from_config(lab.exp.get_config(), ctx=ctx)
    assert ctx.experiment is None


def test_state_round_trip(lab: Any, digest_of: Callable[[Any], str]) -> None:
    counter, runs = Counter(), RunCounter()
    phase = lab.train(callbacks=[counter])
    lab.exp.add_callback(runs)
    lab.exp.execution_plan.add_group(PhaseGroup("g", [phase]))
    lab.exp.run()
    state = lab.exp.get_state()
    taken = digest_of(state)
    losses = lab.exp.run_phase(phase).batch_losses().tolist()
    assert digest_of(state) == taken
    assert (counter.n, runs.n) == (4, 2)
    lab.exp.set_state(state)
    assert digest_of(lab.exp.get_state()) == taken
    assert (counter.n, runs.n, lab.exp.epochs_done) == (2, 1, {"train": 2})
    assert lab.exp.run_phase(phase).batch_losses().tolist() == losses
    assert digest_of(state) == taken


def test_a_sampler_without_a_seed_keeps_the_one_it_drew(make_lab: Any) -> None:
    def lab_of(seed: int | None) -> Any:
        lab = make_lab()
        sampler = SimpleSampler(batch_size=6, shuffle=True, seed=seed)
        lab.exp.execution_plan.add_phase(lab.train(sampler=sampler))
        return lab

    def rows(lab: Any) -> list[int]:
        rows: list[int] = lab.exp.preview_run()["train"].stacked_tensors("net", "rows").tolist()
        return rows

    one, other, seeded = lab_of(None), lab_of(None), lab_of(8)
    assert rows(one) != rows(other)
    other.exp.set_state(one.exp.get_state())
    assert rows(one) == rows(other)
    before = rows(seeded)
    seeded.exp.set_state(one.exp.get_state())
    assert rows(seeded) == before


def test_a_state_is_apart_from_the_callback_that_gave_it(lab: Any) -> None:
    lister = Lister()
    phase = lab.train(callbacks=[lister])
    lab.exp.preview_phase(phase)
    assert lister.seen == []
    lab.exp.execution_plan.add_phase(phase)
    state = lab.exp.get_state()
    for _ in range(2):
        lab.exp.run()
        assert lister.seen == [0, 1]
        lab.exp.set_state(state)
        assert lister.seen == []


def test_states_of_callbacks_go_to_those_of_their_label_only(make_lab: Any) -> None:
    lab = make_lab(callbacks=[RunCounter("a"), RunCounter("b", 1)])
    lab.exp.run_phase(lab.evaluate())
    other = make_lab(callbacks=[RunCounter("a"), RunCounter("c", 1)])
    other.exp.set_state(lab.exp.get_state())
    assert [c.n for c in other.exp.exp_callbacks] == [1, 0]


PARTS = ["graph", "epochs_done", "random", "callbacks", "phases", "history", "checkpoints", "unfinished"]
PARTS += ["best_checkpoints"]


@pytest.mark.parametrize("missing", PARTS)
def test_a_state_that_lacks_something_changes_nothing(lab: Any, missing: str) -> None:
    lab.exp.execution_plan.add_phase(lab.evaluate())
    state = lab.exp.get_state()
    assert set(state) == set(PARTS)
    del state[missing]
    lab.exp.run_phase(lab.train())
    before = lab.everything()
    with pytest.raises(KeyError):
        lab.exp.set_state(state)
    assert lab.everything() == before


def test_a_callback_that_refuses_its_state_changes_nothing(lab: Any) -> None:
    class Picky(RunCounter):
        def set_state(self, state: dict[str, Any]) -> None:
            if state["n"] == 0:
                raise ValueError("no zero")
            self.n = state["n"]

    lab.exp.add_callback(Picky())
    state = lab.exp.get_state()
    lab.exp.run_phase(lab.train())
    before = lab.everything()
    with pytest.raises(ValueError, match="no zero"):
        lab.exp.set_state(state)
    assert lab.everything() == before


def test_the_state_of_a_graph_needs_a_graph(lab: Any) -> None:
    with pytest.raises(GraphError, match="'empty' has none"):
        Experiment("empty").set_state(lab.exp.get_state())


# -- memory ------------------------------------------------------------------------------


def test_what_is_replaced_is_freed(make_lab: Any) -> None:
    def cell() -> list[weakref.ref[Any]]:
        lab = make_lab()
        lab.exp.add_callback(RunCounter())
        lab.exp.execution_plan.add_phase(lab.train(callbacks=[Counter()])).add_phase(lab.evaluate())
        lab.exp.run()
        with pytest.raises(CallbackError):
            lab.exp.run_phase(lab.train("f", callbacks=[Fails()]))
        lab.exp.preview_run()
        return [
            weakref.ref(o) for o in (lab.exp, lab.exp.ctx, lab.node, lab.graph, lab.data, lab.exp.last_run)
        ]

    replaced = cell()
    cell()
    gc.collect()
    assert [ref() for ref in replaced] == [None] * 6


def test_running_again_does_not_keep_what_runs_on_the_side(lab: Any) -> None:
    lab.exp.run_phase(lab.train())
    listeners = len(lab.exp.events._listeners)
    for _ in range(3):
        lab.exp.run_phase(lab.train())
    assert len(lab.exp.events._listeners) == listeners == 0


# -- any order of events -----------------------------------------------------------------

STEPS = ["train", "evaluate", "fail", "preview", "checkpoint", "restore", "load", "take", "put back"]


@pytest.fixture(scope="module")
def losses_after(make_lab: Any) -> list[list[float]]:
    """The losses of one more epoch after 0, 1, 2 ... epochs."""
    lab = make_lab("any")
    phase, losses = lab.train(n_epochs=1), []
    for _ in range(9):
        losses.append(lab.exp.preview_phase(phase).batch_losses().tolist())
        lab.exp.run_phase(phase)
    return losses


@settings(max_examples=20)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=8))
def test_in_any_order_the_state_is_that_of_the_epochs_trained(
    steps: list[str], make_lab: Any, losses_after: list[list[float]]
) -> None:
    """With dropout and shuffling: nothing but training advances, and whatever is restored is exact."""
    with tempfile.TemporaryDirectory() as folder:
        lab = make_lab("any", registration_policy="overwrite")
        train, bad = lab.train(n_epochs=1), lab.evaluate("bad", callbacks=[Fails()])
        lab.exp.execution_plan.add_phase(train)
        exp = lab.exp
        exp.set_checkpoint_dir(folder)
        exp.save_checkpoint("c")
        state = exp.get_state()
        n_epochs, n_runs = in_checkpoint = in_state = (0, 0)
        for step in steps:
            n_runs += step in ("train", "evaluate", "fail")
            if step == "train":
                exp.run_phase(train)
                n_epochs += 1
            elif step == "evaluate":
                exp.run_phase(lab.evaluate())
            elif step == "fail":
                with pytest.raises(CallbackError):
                    exp.run_phase(bad)
            elif step == "preview":
                exp.preview_run()
            elif step == "checkpoint":
                exp.save_checkpoint("c", overwrite=True)
                in_checkpoint = (n_epochs, n_runs)
            elif step == "restore":
                exp.restore_checkpoint("c")
                n_epochs, n_runs = in_checkpoint
            elif step == "load":
                path = exp.save(f"{folder}/e", overwrite=True)
                exp = Experiment.load(path, overwrite=True, checkpoint_dir=folder)
                exp.set_checkpoint_dir(folder)
            elif step == "take":
                state, in_state = exp.get_state(), (n_epochs, n_runs)
            else:
                exp.set_state(state)
                n_epochs, n_runs = in_state
            assert (exp.epochs_done.get("train", 0), len(exp.history)) == (n_epochs, n_runs)
        assert exp.preview_phase(train).batch_losses().tolist() == losses_after[n_epochs]


def test_what_belongs_to_another_experiment_is_refused_where_it_is_given(make_lab: Any) -> None:
    first, second = make_lab("first"), make_lab("second")
    with second.exp.ctx.temporary():
        with pytest.raises(InvalidValueError, match="upstream FeatureSet.* belongs to another experiment"):
            ModelNode("other", SequentialMLP(), first.data)
        with pytest.raises(UnknownNameError, match="'net' is not of this experiment"):
            ModelGraph([first.node])
        with pytest.raises(InvalidValueError, match="the loss 'mse' is on 'net' of another experiment"):
            EvalPhase.from_split("eval", split="test", losses=[first.loss])


def test_a_cell_that_adds_a_phase_can_be_run_again_under_overwrite(make_lab: Any) -> None:
    lab = make_lab(registration_policy="overwrite")
    plan = lab.exp.execution_plan
    plan.add_items([lab.train("a"), lab.train("b")])
    again = lab.train("a", n_epochs=5)
    plan.add_phase(again)
    assert plan.all[0] is again
    assert [entry.label for entry in plan] == ["a", "b"]
    lab.exp.ctx.set_registration_policy("raise")
    with pytest.raises(DuplicateLabelError, match="An item already exists with label 'a'"):
        plan.add_phase(lab.train("a"))


def test_what_it_is_made_of_is_found_by_its_label_also_when_loaded(lab: Any, tmp_path: Path) -> None:
    assert lab.exp.feature_sets == {"data": lab.data}
    with pytest.raises(UnknownNameError, match="Unknown FeatureSet 'dada' in this .*mean 'data'"):
        lab.exp.feature_sets["dada"]
    path = lab.exp.save(tmp_path / "lab")
    ExperimentContext().activate()
    loaded = Experiment.load(path)
    assert loaded.feature_sets["data"].table == lab.data.table
    assert loaded.model_graph.node_labels == lab.exp.model_graph.node_labels
