import copy
import logging
import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.utils.checkpoint import checkpoint

from modularml.backends import torch_compiler
from modularml.base.errors import ModularMLWarning
from modularml.base.events import CompileStarted, RunStarted
from modularml.core.execution import compiled
from modularml.core.experiment.callback import Callback
from modularml.core.experiment.display_options import QUIET
from modularml.core.training.loss import Loss
from modularml.core.training.optimizer import Optimizer
from modularml.core.training.schedule import Schedule
from modularml.samplers import SimpleSampler

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Run the trace of a step as it is, which needs no C++ compiler; note the tensors of each call."""
    found: list[int] = []

    def as_traced(graph: Any, _: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            found.append(len(args))
            return graph(*args)

        return run

    monkeypatch.setattr(torch_compiler, "machine_code", as_traced)
    monkeypatch.setattr(compiled, "MOST_BATCHES", 2)
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)  # pytest would have it tell all
    return found


def small(*, batch_size: int = 5) -> SimpleSampler:
    """48 rows in 9 batches of 5 and one of 3."""
    return SimpleSampler(batch_size=batch_size, shuffle=True, seed=5)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def both(bench: Any, make: Callable[[bool], Any], n_runs: int = 1) -> list[list[np.ndarray]]:
    """Run a phase without the compiler and with it, from one state; return losses and weights."""
    graph = bench.ctx.model_graph
    modules = {
        node.label: node.module for node in graph.nodes.values() if getattr(node, "backend", "") == "torch"
    }
    start = {label: copy.deepcopy(module.state_dict()) for label, module in modules.items()}
    found = []
    for is_compiled in (False, True):
        for label, module in modules.items():
            module.load_state_dict(start[label])
        for one in (graph, *graph.nodes.values()):
            if getattr(one, "optimizer", None) is not None and one.optimizer.is_built:
                one.optimizer.build(
                    list(zip(one.optimizer.parameter_names, one.optimizer.parameters, strict=True)),
                    force_rebuild=True,
                )
        torch.manual_seed(3)
        losses = []
        for _ in range(n_runs):
            _, results = bench.drain(make(is_compiled))
            losses += results.recording.losses
        arrays = [np.concatenate(losses)]
        arrays += [t.numpy().copy() for module in modules.values() for t in module.state_dict().values()]
        found.append(arrays)
    return found


def assert_same(found: Sequence[Sequence[np.ndarray]]) -> None:
    """Compare what was computed with the compiler and without it, loss by loss and weight by weight.

    A small loss is the square of a difference of larger numbers: it has no five digits in
    float32, and which it has depends on the processor.
    """
    eager, ours = found
    for left, right in zip(eager, ours, strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("of_graph", "of_phase", "is_compiled"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_a_phase_is_compiled_as_its_graph_says_or_as_it_says_itself(
    bench: Any, calls: Any, of_graph: bool, of_phase: bool | None, is_compiled: bool
) -> None:
    bench.graph(bench.node())
    phase = bench.train(sampler=small(), compile=of_phase)
    bench.ctx.model_graph.compile = of_graph  # whenever that is said
    bench.drain(phase)
    assert bool(calls) == is_compiled


OPTIMIZERS = [
    ("adam", {"lr": 0.01}),
    ("adam", {"lr": 0.01, "amsgrad": True, "betas": (0.8, 0.99)}),
    ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
    ("sgd", {"lr": 0.05}),
    ("sgd", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("rmsprop", {"lr": 0.01, "momentum": 0.5, "centered": True}),
    ("adagrad", {"lr": 0.05}),
    ("adadelta", {"lr": 0.5}),
    ("adamax", {"lr": 0.01}),
    ("nadam", {"lr": 0.01}),
]


@pytest.mark.parametrize(("name", "kwargs"), OPTIMIZERS)
def test_losses_and_weights_are_those_of_the_plain_loop(
    bench: Any, calls: Any, name: str, kwargs: Any
) -> None:
    bench.graph(bench.node(), optimizer=Optimizer(name, opt_kwargs=kwargs))
    assert_same(both(bench, lambda on: bench.train(sampler=small(), compile=on)))
    assert len(calls) == 4  # of 2 batches each, between the first one and a last short one


def test_runs_go_on_where_the_one_before_ended(bench: Any, calls: Any) -> None:
    bench.graph(bench.node(model=network()), optimizer=Optimizer("adam", opt_kwargs={"lr": 0.01}))
    assert_same(both(bench, lambda on: bench.train(n_epochs=2, sampler=small(), compile=on), n_runs=2))
    assert len(calls) == 2 * (4 + 5)  # an odd batch of the second epoch is run by itself


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.5, "clip_value": 0.05},
        {"accumulate": 2},
        {"result_recording": "none"},
    ],
)
def test_what_is_done_with_gradients_is_the_same(bench: Any, calls: Any, options: Any) -> None:
    bench.graph(bench.node(model=network()), optimizer=Optimizer("adam", opt_kwargs={"lr": 0.01}))
    assert_same(both(bench, lambda on: bench.train(sampler=small(), compile=on, **options)))
    assert calls


def test_several_losses_nodes_and_weights(bench: Any, calls: Any) -> None:
    bench.fs = bench.data("Weighted", weight=np.linspace(0.1, 2.0, 60).astype(np.float32))
    bench.graph(*bench.chain(nn.Linear(4, 1), nn.Linear(1, 1)))
    losses = [
        bench.loss("A", label="inner", weight=0.3),
        bench.loss("B", label="outer"),
        bench.loss("B", "l1", label="seen", trainable=False),
        bench.loss(
            "B", Loss(lambda module: module.weight.square().sum()), ["module"], label="size", weight=0.01
        ),
    ]
    assert_same(both(bench, lambda on: bench.train(losses, sampler=small(), compile=on)))
    assert calls


def test_nodes_with_optimizers_of_their_own(bench: Any, calls: Any) -> None:
    first = bench.node("A", None, nn.Linear(4, 1), optimizer=Optimizer("adam", opt_kwargs={"lr": 0.01}))
    second = bench.node("B", first, nn.Linear(1, 1), optimizer=Optimizer("sgd", opt_kwargs={"lr": 0.05}))
    bench.graph(first, second, optimizer=None)
    losses = [bench.loss("A", label="a"), bench.loss("B", label="b")]
    assert_same(both(bench, lambda on: bench.train(losses, sampler=small(), compile=on)))
    assert calls


def test_running_statistics_and_random_numbers_are_the_same(bench: Any, calls: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    bench.graph(bench.node(model=model), lr=0.01)  # a batch of five multiplies what is rounded
    assert_same(both(bench, lambda on: bench.train(n_epochs=2, sampler=small(), compile=on)))
    assert calls


@pytest.mark.parametrize("every", ["epoch", "batch"])
def test_schedules_change_the_rate_of_compiled_steps(bench: Any, calls: Any, every: str) -> None:
    schedule = Schedule("exponential", schedule_kwargs={"gamma": 0.8}, every=every)
    bench.graph(bench.node(), optimizer=Optimizer("sgd", opt_kwargs={"lr": 0.1}, schedule=schedule))
    found = both(bench, lambda on: bench.train(n_epochs=3, sampler=small(), compile=on))
    assert_same(found)
    assert calls


def test_a_parameter_that_no_gradient_reaches_is_left_alone(bench: Any, calls: Any) -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 1), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    bench.graph(bench.node(model=Partly()), optimizer=Optimizer("adamw", opt_kwargs={"weight_decay": 0.5}))
    assert_same(both(bench, lambda on: bench.train(n_epochs=2, sampler=small(), compile=on)))
    assert calls


def test_what_an_epoch_changes_in_a_model_counts(bench: Any, calls: Any) -> None:
    class Annealed(nn.Linear):
        factor = 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.factor

    class Anneal(Callback):
        def on_epoch_start(self, *, exec_ctx: Any, **_: Any) -> None:
            model.factor = 1.0 + exec_ctx.epoch_idx

    model = Annealed(4, 1)
    bench.graph(bench.node(model=model), lr=0.01)
    start = copy.deepcopy(model.state_dict())
    losses = []
    for on in (False, True):
        model.load_state_dict(start)
        phase = bench.train(
            n_epochs=3, sampler=small(), compile=on, callbacks=[Anneal()], label=f"train {on}"
        )
        losses.append(bench.exp.run_phase(phase, **QUIET).recording.losses)
    assert_same(losses)
    assert calls


def test_a_callback_of_batches_sees_and_changes_each(bench: Any, calls: Any) -> None:
    class Anneal(Callback):
        def on_batch_end(self, *, experiment: Any, exec_ctx: Any, **_: Any) -> None:
            seen.append((exec_ctx.losses["mse"].item(), exec_ctx.outputs["A"].sum().item()))
            experiment.model_graph.optimizer.optimizer.param_groups[0]["lr"] *= 0.9

    bench.graph(bench.node())
    node = bench.ctx.get_node("A")
    start = copy.deepcopy(node.module.state_dict())
    found = []
    for on in (False, True):
        node.module.load_state_dict(start)
        bench.ctx.model_graph.optimizer.optimizer.param_groups[0]["lr"] = 0.1
        seen: list[Any] = []
        phase = bench.train(
            [bench.loss(label="mse")], sampler=small(), compile=on, callbacks=[Anneal()], label=f"train {on}"
        )
        bench.exp.run_phase(phase, **QUIET)
        found.append(seen)
    assert_same(found)
    assert len(calls) == 8


def test_moments_are_those_of_the_optimizer(bench: Any, calls: Any) -> None:
    graph = bench.graph(bench.node(), optimizer=Optimizer("adam"))
    states = []
    start = copy.deepcopy(bench.ctx.get_node("A").module.state_dict())
    for on in (False, True):
        bench.ctx.get_node("A").module.load_state_dict(start)
        graph.optimizer.build(
            list(zip(graph.optimizer.parameter_names, graph.optimizer.parameters, strict=True)),
            force_rebuild=True,
        )
        bench.drain(bench.train(n_epochs=2, sampler=small(), compile=on))
        states.append(graph.optimizer.get_state()["state"])
    for name, state in states[0].items():
        for key, value in state.items():
            np.testing.assert_allclose(states[1][name][key], value, rtol=1e-5, atol=1e-7)
    assert states[1]["A.weight"]["step"] == 20


def test_a_stop_waits_for_the_present_call(bench: Any, calls: Any) -> None:
    bench.graph(bench.node())
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(len(calls))
        return len(calls) == 2

    _, results = bench.drain(bench.train(n_epochs=3, sampler=small(), compile=True), should_stop=should_stop)
    assert [len(losses) for losses in results.recording.losses] == [5]  # 1 + 2 + 2


def test_a_run_that_was_stopped_goes_on(bench: Any, calls: Any) -> None:
    bench.graph(bench.node(), optimizer=Optimizer("adam", opt_kwargs={"lr": 0.01}))
    bench.exp.execution_plan.add_phase(bench.train(n_epochs=2, sampler=small(), compile=True))
    whole = np.concatenate(bench.exp.run(**QUIET)["train"].recording.losses)
    stops: list[Any] = []

    def stop_within_the_first_epoch(event: Any) -> None:
        if isinstance(event, RunStarted):
            stops.append(event.stop)
        elif isinstance(event, CompileStarted) and len(stops) == 1:
            stops[0]()

    bench.exp.events.subscribe(stop_within_the_first_epoch)
    stopped = bench.exp.run(fresh=True, **QUIET)["train"].recording.losses
    assert [len(losses) for losses in stopped] == [3]
    resumed = np.concatenate(bench.exp.resume(**QUIET)["train"].recording.losses)
    assert_same([[whole], [resumed]])


def test_the_panel_is_told_before_each_compilation(bench: Any, calls: Any) -> None:
    bench.graph(bench.node())
    events, _ = bench.drain(bench.train(n_epochs=3, sampler=small(), compile=True))
    assert sum(isinstance(event, CompileStarted) for event in events) == 2  # of 2 batches, and of one


class Asking(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y if y.sum().item() > 0 else 2 * y


class Counting(nn.Linear):
    n = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return super().forward(x) + self.n / 100


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Asking, "'train' runs without compile=True: torch's compiler says"),
        (Counting, "'train' runs without compile=True: it was compiled 4 times"),
    ],
)
def test_what_cannot_be_compiled_is_told_once_and_trained_as_ever(
    bench: Any, calls: Any, kind: Any, reason: str
) -> None:
    model = kind(4, 1)
    bench.graph(bench.node(model=model))
    start, found = copy.deepcopy(model.state_dict()), []
    for on in (False, True):
        model.load_state_dict(start)
        model.n = 0
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            _, results = bench.drain(bench.train(n_epochs=3, sampler=small(), compile=on))
        found.append(np.concatenate(results.recording.losses))
        assert len(told) == int(on)
    assert reason in str(told[0].message)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"precision": "bf16"}, "precision='bf16'"),
        ({"accumulate": 9}, "accumulate=9 is more than"),
    ],
)
def test_what_is_known_before_is_told_before(bench: Any, options: Any, match: str) -> None:
    bench.graph(bench.node())
    with pytest.warns(ModularMLWarning, match=f"'train' runs without compile=True: {match}"):
        bench.drain(bench.train(compile=True, **options))


def test_an_estimator_is_not_compiled(bench: Any) -> None:
    pca = PCA(2).fit(bench.fs.table.column("features.x.raw"))
    bench.graph(*bench.chain(pca, nn.Linear(2, 1)))
    with pytest.warns(ModularMLWarning, match="'A' is an estimator, and only torch is compiled"):
        bench.drain(bench.train([bench.loss("B")], compile=True))


def test_an_optimizer_of_ones_own_is_not_compiled(bench: Any) -> None:
    class Mine(torch.optim.SGD):
        pass

    bench.graph(bench.node(), optimizer=Optimizer(Mine, opt_kwargs={"lr": 0.1}))
    with pytest.warns(ModularMLWarning, match="the optimizer Mine is none of"):
        bench.drain(bench.train(compile=True))


def test_a_loss_that_holds_a_parameter_itself_is_not_compiled(bench: Any, calls: Any) -> None:
    node = bench.node()
    bench.graph(node)
    weight = node.module.weight

    def near(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).square().mean() + weight.square().sum()

    with pytest.warns(ModularMLWarning, match="holds a parameter apart from its module"):
        bench.drain(bench.train([bench.loss(loss=Loss(near))], compile=True, sampler=small()))


@needs_compiler
def test_machine_code_trains_as_the_plain_loop_does(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_BATCHES", 2)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    bench.graph(bench.node(model=model), optimizer=Optimizer("adam"))
    assert_same(both(bench, lambda on: bench.train(sampler=small(), compile=on)))


def test_without_a_compiler_it_says_so(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    bench.graph(bench.node())
    with pytest.warns(ModularMLWarning, match="runs without compile=True: torch's compiler says"):
        _, results = bench.drain(bench.train(compile=True))
    assert len(results.recording.losses[0]) == 3


class Checkpointed(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: torch.Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return kept


@needs_compiler
def test_checkpoints_of_activations_are_trained_without_the_compiler(bench: Any) -> None:
    bench.graph(bench.node(model=Checkpointed(4, 1)))
    with pytest.warns(ModularMLWarning, match="don't yet support saved tensor hooks"):
        bench.drain(bench.train(n_epochs=2, sampler=small(), compile=True))
    bench.drain(bench.train(n_epochs=2, sampler=small()))
