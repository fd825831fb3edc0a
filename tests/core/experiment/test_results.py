from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from modularml import EvalResults, FitResults, PhaseGroup, PhaseGroupResults, TrainResults
from modularml.base.errors import DuplicateLabelError, InvalidTypeError, UnknownNameError
from modularml.core.execution.recording import Recording
from modularml.core.experiment.results import results_from_state


@pytest.fixture
def group(lab: Any) -> PhaseGroupResults:
    """train, and a group that holds eval."""
    lab.exp.execution_plan.add_phase(lab.train(n_epochs=3)).add_group(PhaseGroup("g", [lab.evaluate()]))
    return lab.exp.run()


def test_a_group_is_a_mapping_by_label(group: PhaseGroupResults) -> None:
    assert (group.labels, len(group), "train" in group, "eval" in group) == (["train", "g"], 2, True, False)
    assert dict(group.items()) == {"train": group["train"], "g": group["g"]}
    assert group._ipython_key_completions_() == ["train", "g"]
    with pytest.raises(UnknownNameError, match="'trian'.*Did you mean 'train'"):
        group["trian"]
    assert list(group.flatten()) == ["train", "eval"]


def test_reprs(group: PhaseGroupResults, fit_lab: Any) -> None:
    assert repr(group) == "PhaseGroupResults(label='lab', entries=['train', 'g'])"
    assert repr(group.flatten()) == (
        "{'train': TrainResults(label='train', epochs=3), 'eval': EvalResults(label='eval', batches=1)}"
    )
    assert repr(fit_lab.exp.run_phase(fit_lab.fit())) == "FitResults(label='fit')"


def test_flatten_refuses_two_of_one_label(lab: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.evaluate()).add_group(PhaseGroup("g", [lab.evaluate()]))
    results = lab.exp.run()
    with pytest.raises(DuplicateLabelError, match="label 'eval'; reach them through their groups"):
        results.flatten()


def test_results_are_had_by_kind(fit_lab: Any) -> None:
    plan = fit_lab.exp.execution_plan
    plan.add_phase(fit_lab.fit()).add_phase(fit_lab.evaluate()).add_group(
        PhaseGroup("g", [fit_lab.evaluate()])
    )
    results = fit_lab.exp.run()
    assert type(results.get_fit_result()) is FitResults
    assert type(results.get_eval_result()) is EvalResults
    assert results.get_eval_result("eval") is results.get_phase_result("eval") is results["eval"]
    assert results.phase_results == {label: results[label] for label in ("fit", "eval")}
    assert results.group_results == {"g": results["g"]}
    assert results.get_group_result() is results["g"]
    with pytest.raises(InvalidTypeError, match="'eval' in .* is EvalResults.*, not TrainResults"):
        results.get_train_result("eval")
    with pytest.raises(InvalidTypeError, match="has 0 entries of TrainResults"):
        results.get_train_result()
    with pytest.raises(InvalidTypeError, match=r"has 2 entries of PhaseResults: \['fit', 'eval'\]; name one"):
        results.get_phase_result()
    with pytest.raises(UnknownNameError, match="'evla'.*Did you mean 'eval'"):
        results.get_eval_result("evla")


def test_state_round_trip(group: PhaseGroupResults, digest_of: Callable[[Any], str]) -> None:
    again = results_from_state(group.get_state())
    assert isinstance(again, PhaseGroupResults)
    assert repr(again) == repr(group)
    assert digest_of(again.get_state()) == digest_of(group.get_state())
    for domain in ("outputs", "targets", "rows"):
        one, two = (r.get_train_result().stacked_tensors("net", domain) for r in (again, group))
        np.testing.assert_array_equal(one, two)


def test_what_a_phase_has_and_a_group_has_not_is_told(lab: Any) -> None:
    lab.exp.execution_plan.add_phase(lab.train())
    results = lab.exp.run()
    with pytest.raises(
        AttributeError, match=r"no attribute 'losses'; each .* has: results\['train'\].losses"
    ):
        results.losses()
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'$"):
        results.zzz  # noqa: B018
    with pytest.raises(
        InvalidTypeError, match=r"got 'train' \(str\). That of the plan is exp.execution_plan\['train'"
    ):
        lab.exp.run_phase("train")


def test_results_of_a_kind_of_their_own_come_back_as_such(lab: Any) -> None:
    class Probed(EvalResults):
        kind = "probed"

    class Refined(Probed):
        """The same in files as what it refines."""

    of_eval = lab.exp.run_phase(lab.evaluate())
    probed = Probed("probe", of_eval.recording, of_eval.heads)
    assert type(results_from_state(probed.get_state())) is Probed
    assert type(results_from_state(of_eval.get_state())) is EvalResults
    refined = Refined("probe", of_eval.recording, of_eval.heads)
    assert type(results_from_state(refined.get_state())) is Probed


def test_a_card_draws_what_spans_much_on_a_logarithmic_axis() -> None:
    for least, is_logarithmic in ((0.05, True), (2.0, False)):
        losses = [np.array([[value]]) for value in (5.0, 3.0, least)]
        recording = Recording({"mse": "net"}, losses=losses, n_samples=[np.ones(1)] * 3)
        picture = TrainResults("train", recording, {})._repr_mimebundle_()["image/svg+xml"]
        assert (">0.1<" in picture) is is_logarithmic


def test_a_value_is_told_in_the_same_digits_by_the_card_the_text_and_the_curves() -> None:
    losses = [np.array([[value]]) for value in (0.5, 0.25)]
    results = TrainResults("train", Recording({"mse": "net"}, losses=losses, n_samples=[np.ones(1)] * 2), {})
    shown = results._repr_mimebundle_()
    group = PhaseGroupResults("all")
    group.add(results)
    shown["group"] = group._repr_mimebundle_()["text/html"]
    for told in shown.values():
        assert ">0.2500<" in told or "mse 0.2500" in told
