"""What became stale of a cross-validation says so, as one whole, in the plan or not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from modularml import CrossValidation, CVBinding, Experiment, FeatureSet, ModelNode, PhaseGroup
from modularml.base.events import PhaseStarted, RunStarted
from modularml.core.context import ExperimentContext
from modularml.samplers import SimpleSampler

KEYS = {"x": "features", "y": "targets"}


def cv_of(lab: Any, *, binding: dict[str, Any] | None = None, **arguments: Any) -> CrossValidation:
    given = {"source_splits": ["train", "test"], "val_split_name": "test", **(binding or {})}
    phases = PhaseGroup("both", [lab.train(n_epochs=1), lab.evaluate()])
    bindings = CVBinding(lab.data, **given)
    return CrossValidation(
        **{"bindings": bindings, "n_folds": 2, "phase": phases, "experiment": lab.exp, **arguments}
    )


@pytest.fixture
def done(lab: Any) -> Any:
    """A lab whose plan is a cross-validation, which has run once."""
    lab.exp.ctx.set_registration_policy("overwrite")
    lab.exp.execution_plan.add_group(cv_of(lab))
    lab.exp.run()
    return lab


def again(lab: Any, **arguments: Any) -> None:
    lab.exp.execution_plan.add_group(cv_of(lab, **arguments))


def sampled_anew(lab: Any) -> None:
    lab.exp.execution_plan["CV"].phase["train"].input_sources[0].sampler.batch_size = 8


def divided_anew(lab: Any, **ratios: float) -> None:
    """Define the same samples again, with other splits."""
    columns = {key: lab.data.table.column(f"{domain}.{key}.raw") for key, domain in KEYS.items()}
    lab.data = FeatureSet.from_dict("data", columns, "x", "y")
    lab.data.split_random(ratios=ratios, seed=7)


def test_before_and_after_its_run(lab: Any) -> None:
    lab.exp.ctx.set_registration_policy("overwrite")
    cv = cv_of(lab)
    lab.exp.execution_plan.add_group(cv)
    assert repr(lab.exp.status()) == "'CV' has not run yet"
    lab.exp.run()
    assert repr(lab.exp.status()) == "results of 'CV' (run 0) are up to date"
    again(lab)  # the same once more
    assert lab.exp.status().stale == []
    assert len(lab.exp.diff()) == 0


CHANGES: list[tuple[Callable[[Any], None], str]] = [
    (lambda lab: again(lab, n_folds=3), "'CV' changed n_folds 2 -> 3"),
    (lambda lab: again(lab, seed=1), "'CV' changed seed 13 -> 1"),
    (
        lambda lab: again(lab, binding={"val_size": 0.5}),
        "val_size of 'CV' changed None -> 0.5",
    ),
    (
        lambda lab: again(lab, binding={"source_splits": ["train"]}),
        "source_splits of 'CV' changed [train, test] -> [train]",
    ),
    (
        lambda lab: again(lab, phase=lab.train(n_epochs=1)),
        "'eval' of 'CV' was removed",
    ),
    (
        lambda lab: again(lab, phase=PhaseGroup("g", [lab.train(n_epochs=4), lab.evaluate()])),
        "changed n_epochs 1 -> 4",
    ),
    (sampled_anew, "sampler of 'train' changed batch_size 6 -> 8"),
    (lambda lab: lab.graph.build(force=True), "node 'net' was defined anew"),
    (lambda lab: ModelNode("net", nn.Linear(3, 1), lab.data), "node 'net' changed"),
    (
        lambda lab: lab.data.table.column("features.x.raw").__setitem__((0, 0), 9.0),
        "FeatureSet 'data' changed values of features.x.raw",
    ),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_what_a_change_makes_stale_and_why(done: Any, change: Callable[[Any], None], words: str) -> None:
    change(done)
    status = done.exp.status()
    assert status.stale == ["CV"]
    assert words in str(status)
    assert words in repr(done.exp.diff())
    assert len(done.exp.run(stale_only=True)) == 1
    assert done.exp.status().stale == []


def test_another_division_of_the_same_rows_outside_of_it_is_no_change(done: Any) -> None:
    divided_anew(done, train=0.5, test=0.5)
    assert done.exp.status().stale == []


def test_other_pooled_rows_are_a_change(done: Any) -> None:
    divided_anew(done, train=0.5, test=0.25, kept=0.25)
    assert "FeatureSet 'data' changed rows of the split 'train + test' after it ran" in str(done.exp.status())


def test_trained_weights_do_not_matter_to_it(done: Any) -> None:
    done.exp.run_phase(done.train("more"))
    assert done.exp.status().stale == []


def test_what_it_trains_is_upstream_of_nothing(lab: Any) -> None:
    lab.exp.execution_plan.add_items([lab.train(), lab.evaluate(), cv_of(lab)])
    lab.exp.run()
    assert lab.exp.status().stale == []
    lab.exp.run_group(lab.exp.execution_plan["CV"])
    assert lab.exp.status().stale == []
    assert [entry.run for entry in lab.exp.status()] == [0, 0, 1]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_outside_of_the_plan_it_is_asked_itself(lab: Any, n_jobs: int) -> None:
    cv = cv_of(lab, n_jobs=n_jobs)
    assert repr(cv.status()) == "'CV' has not run yet"
    cv.run()
    assert repr(cv.status()) == "results of 'CV' (run 0) are up to date"
    assert repr(lab.exp.status(cv)) == repr(cv.status())
    assert len(lab.exp.status()) == 0
    cv.seed = 5
    assert cv.status().stale == ["CV"]


def test_in_a_group_of_the_plan_it_is_known_alone_too(lab: Any) -> None:
    cv = cv_of(lab)
    lab.exp.execution_plan.add_group(PhaseGroup("outer", [cv]))
    lab.exp.run()
    assert repr(lab.exp.status()) == "results of 'outer/CV' (run 0) are up to date"
    assert repr(cv.status()) == "results of 'CV' (run 0) are up to date"


def test_one_that_was_stopped_is_unfinished_until_it_went_on(lab: Any) -> None:
    cv = cv_of(lab, phase=lab.train(n_epochs=1))
    lab.exp.execution_plan.add_group(cv)
    stops: list[Callable[[], None]] = []

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            stops.append(event.stop)
        if isinstance(event, PhaseStarted) and len(stops) == 1:
            stops[0]()

    lab.exp.events.subscribe(listen)
    lab.exp.run()
    assert lab.exp.last_run.status == "stopped"
    assert repr(lab.exp.status()) == "results of 'CV' (run 0) are unfinished"
    lab.exp.resume()
    assert repr(lab.exp.status()) == "results of 'CV' (run 0) are up to date"


def test_columns_it_divides_by_count(lab: Any) -> None:
    lab.exp.ctx.set_registration_policy("overwrite")
    x = np.random.default_rng(0).standard_normal((24, 3))

    def define(groups: np.ndarray) -> None:
        data = {"x": x, "y": x[:, :1], "group": groups}
        lab.data = FeatureSet.from_dict("data", data, "x", "y", "group")
        lab.data.split_random(ratios={"train": 0.75, "test": 0.25}, seed=1)

    define(np.arange(24) // 4)
    cv = cv_of(lab, binding={"group_by": "group"})
    cv.run()
    assert cv.status().stale == []
    define(np.arange(24) // 2)
    assert "FeatureSet 'data' changed values of tags.group.raw" in str(cv.status())


def test_one_within_another_is_told_within_it(lab: Any) -> None:
    inner = cv_of(
        lab,
        label="inner",
        binding={"source_splits": ["train"], "val_split_name": "val"},
        phase=lab.train(n_epochs=1),
    )
    outer = cv_of(lab, phase=PhaseGroup("g", [inner]))
    outer.run()
    assert [name for name in lab.exp.last_run.fingerprint if "/" not in name] == ["CV"]
    assert outer.status().stale == []
    inner.n_folds = 3
    assert "'inner' changed n_folds 2 -> 3" in str(outer.status())


def test_a_loaded_experiment_knows_what_is_up_to_date(done: Any, tmp_path: Path) -> None:
    path = done.exp.save(tmp_path / "lab")
    ExperimentContext().activate()
    loaded = Experiment.load(path)
    assert loaded.status().stale == []
    again = loaded.execution_plan["CV"]
    again.n_folds = 4
    assert loaded.status().stale == ["CV"]


def test_runs_are_compared_without_a_word_for_each_fold(done: Any) -> None:
    again(done, phase=done.train(n_epochs=1, sampler=SimpleSampler(batch_size=3, seed=3, shuffle=True)))
    done.exp.run()
    found = done.exp.diff(0, 1)
    assert repr(found).count("batch_size 6 -> 3") == 1
    assert ("CV", "parts.train.phase.bindings.net.sampler.batch_size") in [
        (phase, ".".join(d.path)) for phase, d in found.rows
    ]
