"""What became stale says so and why, what is stale runs again, and runs are compared in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from modularml import (
    CrossValidation,
    CVBinding,
    Experiment,
    ExperimentCallback,
    FeatureSet,
    FitPhase,
    Loss,
    ModelNode,
)
from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.base.events import RunStarted
from modularml.callbacks import EarlyStopping
from modularml.core.context import ExperimentContext
from modularml.core.training.applied_loss import AppliedLoss
from modularml.samplers import SimpleSampler


@pytest.fixture
def done(lab: Any) -> Any:
    """A lab whose plan, train and eval, has run once."""
    lab.exp.ctx.set_registration_policy("overwrite")
    lab.exp.execution_plan.add_items([lab.train(), lab.evaluate()])
    lab.exp.run()
    return lab


def again(lab: Any, **arguments: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.train(**arguments))


def sampler(batch_size: int) -> SimpleSampler:
    return SimpleSampler(batch_size=batch_size, shuffle=True, seed=3)


def replace_data(lab: Any, *, n: int = 24, seed: int = 0, split_seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 3)), rng.standard_normal((n, 1))
    lab.data = FeatureSet.from_dict("data", {"x": x, "y": y}, "x", "y")
    lab.data.split_random(ratios={"train": 0.75, "test": 0.25}, seed=split_seed)


def test_before_the_first_run_nothing_is_there_to_be_stale(lab: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.train())
    assert repr(lab.exp.status()) == "'train' has not run yet"
    assert lab.exp.status().stale == ["train"]


def test_an_empty_plan_is_said_to_be_empty(lab: Any) -> None:
    shown = Experiment("empty", ctx=ExperimentContext()).status()._repr_mimebundle_()
    assert "no phases in the execution plan" in shown["text/plain"]
    assert "no phases in the execution plan" in shown["text/html"]
    assert "<table" not in shown["text/html"]


def test_results_are_up_to_date_until_something_changes(done: Any) -> None:
    assert repr(done.exp.status()) == (
        "results of 'train' (run 0) are up to date\nresults of 'eval' (run 0) are up to date"
    )
    replace_data(done)
    again(done)
    assert done.exp.status().stale == []
    assert len(done.exp.diff()) == 0


CHANGES: list[tuple[Callable[[Any], None], list[str], str]] = [
    (
        lambda lab: again(lab, sampler=sampler(12)),
        ["train", "eval"],
        "sampler of 'train' changed batch_size 6 -> 12",
    ),
    (lambda lab: again(lab, n_epochs=5), ["train", "eval"], "'train' changed n_epochs 2 -> 5"),
    (
        lambda lab: again(lab, losses=[AppliedLoss(Loss("mse"), on=lab.node, weight=2.0)]),
        ["train", "eval"],
        "loss 'mse' of 'train' changed weight 1.0 -> 2.0",
    ),
    (
        lambda lab: again(lab, losses=[lab.loss, AppliedLoss(Loss("l1"), on=lab.node)]),
        ["train", "eval"],
        "loss 'l1' of 'train' was added",
    ),
    (
        lambda lab: again(lab, callbacks=[EarlyStopping(monitor="train_loss", label="stop")]),
        ["train", "eval"],
        "callback 'stop' of 'train' was added",
    ),
    (lambda lab: replace_data(lab, n=48), ["train", "eval"], "FeatureSet 'data' changed n_samples 24 -> 48"),
    (
        lambda lab: replace_data(lab, seed=1),
        ["train", "eval"],
        "FeatureSet 'data' changed values of features.x.raw",
    ),
    (lambda lab: replace_data(lab, split_seed=2), ["train", "eval"], "changed rows of the split 'train'"),
    (
        lambda lab: lab.exp.execution_plan.add_phase(lab.evaluate(split="train")),
        ["eval"],
        "split of 'eval' changed test -> train",
    ),
    (lambda lab: lab.node.freeze(), ["train", "eval"], "node 'net' changed frozen False -> True"),
    (
        lambda lab: ModelNode("net", nn.Linear(3, 1), lab.data.reference(features="x", targets="y")),
        ["train", "eval"],
        "node 'net' changed",
    ),
    (lambda lab: lab.graph.build(force=True), ["train", "eval"], "node 'net' was defined anew"),
    (lambda lab: lab.exp.run_phase(lab.train("more")), ["eval"], "'more' changed the weights in run 1"),
]


@pytest.mark.parametrize(("change", "stale", "words"), CHANGES, ids=[words for _, _, words in CHANGES])
def test_what_a_change_makes_stale_and_why(
    done: Any, change: Callable[[Any], None], stale: list[str], words: str
) -> None:
    change(done)
    status = done.exp.status()
    assert status.stale == stale
    assert all(words in str(entry) for entry in status if entry.state == "stale")


def test_the_sentence_names_results_run_attribute_and_values(done: Any) -> None:
    again(done, sampler=sampler(12))
    assert str(done.exp.status()[1]) == (
        "results of 'eval' (run 0) are stale: sampler of 'train' changed batch_size 6 -> 12 after it ran"
    )
    assert "batch_size 6 -&gt; 12" in done.exp.status()._repr_mimebundle_()["text/html"]


def test_values_that_are_changed_in_place_are_noticed(done: Any) -> None:
    done.data.table.column("features.x.raw")[0, 0] += 1
    assert done.exp.status().stale == ["train", "eval"]


def test_only_what_is_stale_runs_again(done: Any, capsys: pytest.CaptureFixture[str]) -> None:
    done.exp.run_phase(done.exp.execution_plan["train"])
    assert list(done.exp.run(stale_only=True).flatten()) == ["eval"]
    again(done, n_epochs=1)
    assert list(done.exp.run(stale_only=True).flatten()) == ["train", "eval"]
    n_runs = len(done.exp.history)
    assert len(done.exp.run(stale_only=True)) == 0
    assert "Nothing is stale" in capsys.readouterr().err
    assert len(done.exp.history) == n_runs
    assert [entry.label for entry in done.exp.execution_plan] == ["train", "eval"]
    with pytest.raises(InvalidValueError, match="leave out stale_only"):
        done.exp.run(fresh=True, stale_only=True)


def test_a_second_run_continues_and_says_so_and_a_fresh_one_begins_anew(lab: Any) -> None:
    heard: list[RunStarted] = []
    lab.exp.events.subscribe(lambda event: heard.append(event) if isinstance(event, RunStarted) else None)
    lab.exp.execution_plan.add_phase(lab.train())
    numbers = lab.exp.random_stream.get_state()  # for the dropout
    first, second = lab.exp.run(), lab.exp.run()
    lab.exp.random_stream.set_state(numbers)
    fresh = lab.exp.run(fresh=True)
    titles = [event.title for event in heard]
    assert titles == ["lab", "lab · continues: 2 epochs so far", "lab"]
    values = [results["train"].losses().data for results in (first, second, fresh)]
    assert values[0] == values[2] != values[1]
    assert len(lab.exp.history) == 3


@pytest.mark.parametrize("previewed", [False, True])
def test_weights_that_were_loaded_before_the_first_training_are_what_models_begin_with(
    lab: Any, previewed: bool
) -> None:
    loaded = {name: np.full_like(weight, 0.25) for name, weight in lab.node.model.get_weights().items()}
    lab.node.model.set_weights(loaded)
    phase = lab.train()
    if previewed:
        lab.exp.preview_phase(phase)
    lab.exp.run_phase(phase)
    lab.node.model.set_weights({name: weight + 1 for name, weight in loaded.items()})
    lab.exp.run_phase(phase)  # it is trained by now, so these are no beginning
    begun: list[Any] = []

    class Watch(ExperimentCallback):
        def on_phase_start(self, *, experiment: Any, phase: Any) -> None:
            begun.append(lab.node.model.get_weights())

    lab.exp.add_callback(Watch("watch"))
    lab.exp.execution_plan.add_phase(phase)
    lab.exp.run(fresh=True)
    CrossValidation(bindings=CVBinding(lab.data, source_splits="train"), n_folds=2, phase=phase).run()
    assert len(begun) == 3
    assert all((of[name] == 0.25).all() for of in begun for name in of)


def test_a_fresh_run_before_any_other_begins_with_loaded_weights(lab: Any) -> None:
    loaded = {name: np.full_like(weight, 0.25) for name, weight in lab.node.model.get_weights().items()}
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=1))
    lab.node.model.set_weights(loaded)
    lab.exp.run(fresh=True)
    lab.graph.reset_state()
    assert all((weight == 0.25).all() for weight in lab.node.model.get_weights().values())


def test_epochs_count_anew_for_nodes_that_are_defined_anew(done: Any) -> None:
    done.exp.run()
    assert done.exp.epochs_done == {"train": 4}
    ModelNode("net", nn.Linear(3, 1), done.data.reference(features="x", targets="y"))
    done.exp.run()
    assert done.exp.epochs_done == {"train": 2}


def test_runs_are_compared_in_words_and_as_a_table(done: Any) -> None:
    again(done, sampler=sampler(12))
    done.exp.run()
    found = done.exp.diff(0, -1)
    words = ["sampler of 'train' changed batch_size 6 -> 12", "'train' began after 2 epochs instead of 0"]
    assert repr(found) == "\n  ".join(["run 0 -> run 1:", *words])
    assert "<td>6</td><td>12</td>" in found._repr_mimebundle_()["text/html"]
    assert repr(done.exp.diff(done.exp.history[1].id, done.exp.last_run)) == "run 1 -> run 1: no differences"
    only = done.exp.run_phase(done.train("other"))
    assert only is not None
    assert "'other' is in run 2 only" in repr(done.exp.diff(1, 2))


def test_a_run_that_continues_differs_from_one_that_began_anew(done: Any, tmp_path: Path) -> None:
    done.exp.run()
    done.exp.run(fresh=True)
    again = Experiment.load(done.exp.save(tmp_path / "runs"), overwrite=True)
    for exp in (done.exp, again):
        assert repr(exp.diff(0, 1)) == "run 0 -> run 1:\n  'train' began after 2 epochs instead of 0"
        assert len(exp.diff(0, 2)) == 0


@pytest.mark.parametrize(
    ("run", "error"), [(7, UnknownNameError), ("x", UnknownNameError), (1.5, InvalidTypeError)]
)
def test_a_run_that_is_not_there_is_refused(done: Any, run: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        done.exp.diff(run)


def test_a_fit_is_upstream_of_what_evaluates_it(fit_lab: Any) -> None:
    exp = fit_lab.exp
    exp.execution_plan.add_phase(FitPhase.from_split("fit", split="train"))
    exp.execution_plan.add_phase(fit_lab.evaluate())
    exp.run()
    assert exp.status().stale == []
    exp.run_phase(exp.execution_plan["fit"])
    assert exp.status().stale == ["eval"]


def test_a_loaded_experiment_knows_what_is_up_to_date(done: Any, tmp_path: Path) -> None:
    path = done.exp.save(tmp_path / "lab")
    ExperimentContext().activate()
    loaded = Experiment.load(path)
    assert loaded.history[0].fingerprint == done.exp.history[0].fingerprint
    assert loaded.status().stale == []


def test_cards_and_the_history_say_what_is_stale_and_why(done: Any) -> None:
    assert "up to date" in done.exp._repr_mimebundle_()["text/html"]
    assert not any(view.stale for view in done.exp.history.views())
    again(done, sampler=sampler(12))
    (view,) = done.exp.history.views()
    assert view.stale == tuple(str(entry) for entry in done.exp.status())
    assert all("are stale: " in sentence for sentence in view.stale)
    shown = done.exp._repr_mimebundle_()["text/html"]
    assert "<td>stale</td>" in shown
    assert "are stale: sampler of &#x27;train&#x27; changed batch_size" in shown
    assert '<span class="stopped">stale</span>' in done.exp.history._repr_mimebundle_()["text/html"]
    assert "stale" not in done.exp.execution_plan._repr_mimebundle_()["text/html"]
    done.exp.run(stale_only=True)
    assert [view.stale for view in done.exp.history.views()] == [(), ()]


def test_a_plan_that_could_not_run_now_is_shown_with_the_reason(done: Any) -> None:
    done.exp.ctx.remove_node(label="data")
    first, *_ = done.exp.history.views()[0].stale
    assert "'train' (run 0) are stale: it cannot run now: Unknown node 'data'" in first
    assert "up to date" not in done.exp._repr_mimebundle_()["text/html"]


def test_an_experiment_without_nodes_and_phases_shows_no_empty_table() -> None:
    shown = Experiment("empty", ctx=ExperimentContext())._repr_mimebundle_()["text/html"]
    assert "<table" not in shown and "No nodes yet." in shown and "No phases yet." in shown
