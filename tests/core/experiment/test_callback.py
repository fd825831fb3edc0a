import inspect
from typing import Any

import pytest

from modularml import Callback, ExperimentCallback
from modularml.base.errors import InvalidTypeError, InvalidValueError
from modularml.callbacks import EarlyStopping, callback_registry
from modularml.core.experiment.callback import check_callbacks

PHASE_HOOK = {
    "on_phase_start": {"experiment", "phase", "results"},
    "on_phase_end": {"experiment", "phase", "results"},
    "on_epoch_start": {"experiment", "phase", "exec_ctx", "results"},
    "on_epoch_end": {"experiment", "phase", "exec_ctx", "results"},
    "on_batch_start": {"experiment", "phase", "exec_ctx", "results"},
    "on_batch_end": {"experiment", "phase", "exec_ctx", "results"},
    "on_exception": {"experiment", "phase", "exec_ctx", "exception", "results"},
}
EXPERIMENT_HOOK = {
    "on_experiment_start": {"experiment"},
    "on_experiment_end": {"experiment"},
    "on_phase_start": {"experiment", "phase"},
    "on_phase_end": {"experiment", "phase"},
    "on_group_start": {"experiment", "group"},
    "on_group_end": {"experiment", "group"},
    "on_exception": {"experiment", "phase", "exception"},
}


@pytest.mark.parametrize(("base", "known"), [(Callback, PHASE_HOOK), (ExperimentCallback, EXPERIMENT_HOOK)])
def test_the_hooks_are_the_documented_ones(base: type, known: dict[str, set[str]]) -> None:
    assert {name for name in dir(base) if name.startswith("on_")} == set(base.hooks) == set(known)
    for hook, names in known.items():
        parameters = inspect.signature(getattr(base(), hook)).parameters
        assert set(parameters) == names
        assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
        assert inspect.getdoc(getattr(base, hook))
        assert getattr(base(), hook)(**dict.fromkeys(names)) is None
        assert not base.listens(hook)


@pytest.mark.parametrize("base", [Callback, ExperimentCallback])
def test_a_class_listens_to_what_it_or_a_base_of_its_own_overrides(base: type) -> None:
    for hook in base.hooks:
        own = type("Own", (base,), {hook: lambda self, **_: None})
        heir = type("Heir", (own,), {})
        assert [h for h in base.hooks if heir.listens(h)] == [hook]


def test_lower_ones_come_first_and_equal_ones_stay_in_order() -> None:
    given = [Callback(f"{order}-{i}", order) for i, order in enumerate([1, 0, -5, 0, 1])]
    ordered = check_callbacks(given, Callback, "here")
    assert [c.label for c in ordered] == ["-5-2", "0-1", "0-3", "1-0", "1-4"]


def test_a_constructor_that_forgets_its_base_still_makes_a_callback() -> None:
    class Forgetful(Callback):
        def __init__(self, threshold: float) -> None:
            self.threshold = threshold

    callback = Forgetful(0.5)
    assert (callback.label, callback.execution_order) == ("Forgetful", 0)
    assert check_callbacks([callback], Callback, "here") == [callback]
    assert callback.get_config() == {"threshold": 0.5}


def test_configuration_round_trip() -> None:
    callback = Callback("early", execution_order=3)
    assert Callback.from_config(callback.get_config()) == callback
    assert repr(callback) == "Callback(label='early', execution_order=3)"


def test_wrong_callbacks_are_refused_together_where_they_are_given() -> None:
    with pytest.raises(InvalidTypeError, match="TrainPhase 't' has 2 faults") as caught:
        check_callbacks([ExperimentCallback(), 3], Callback, "TrainPhase 't'")
    assert "must be of class Callback, got ExperimentCallback" in str(caught.value)
    with pytest.raises(InvalidTypeError, match="must be a list of Callback"):
        check_callbacks(Callback(), Callback, "here")
    with pytest.raises(InvalidTypeError, match="execution_order must be an int, got 'first'"):
        Callback(execution_order="first")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="printable"):
        Callback(label="")


def test_a_method_that_nobody_would_call_is_refused() -> None:
    class Misspelt(Callback):
        def on_epoch_ended(self, **_: object) -> None: ...

    with pytest.raises(InvalidValueError, match="'on_epoch_ended'.*Did you mean 'on_epoch_end'"):
        check_callbacks([Misspelt()], Callback, "here")


def test_a_hook_that_does_not_take_what_it_is_called_with_is_told_at_once() -> None:
    class Old(ExperimentCallback):
        def on_group_start(self, *, experiment: Any, phase_group: Any) -> None: ...  # type: ignore[override]

        def on_phase_end(self, **_: Any) -> None: ...

    match = r"on_group_start\(\) of callback 'Old' is called with experiment=, group=, and "
    with pytest.raises(InvalidTypeError, match=match):
        check_callbacks([Old()], ExperimentCallback, "Experiment 'e'")


def test_the_callbacks_of_this_package_are_in_a_registry() -> None:
    assert callback_registry["earlystopping"] is EarlyStopping
    assert {"Evaluation", "MetricCallback"} <= set(callback_registry)
