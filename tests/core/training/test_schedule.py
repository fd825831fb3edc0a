import functools
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from modularml.backends.torch_schedules import schedule_classes
from modularml.base.errors import InvalidTypeError, InvalidValueError, OptimizerError, StateError
from modularml.core.training.optimizer import Optimizer
from modularml.core.training.schedule import Schedule, as_schedule
from modularml.io import codec

KWARGS: dict[str, dict[str, Any]] = {
    "lambda": {"lr_lambda": lambda epoch: 0.9**epoch},
    "multiplicative": {"lr_lambda": lambda epoch: 0.9},
    "step": {"step_size": 2},
    "multi_step": {"milestones": [2, 4]},
    "cosine_annealing": {"T_max": 5},
    "cyclic": {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3},
    "cosine_annealing_warm_restarts": {"T_0": 3},
    "one_cycle": {"max_lr": 1.0, "total_steps": 40},
    "exponential": {"gamma": 0.9},
    "reduce_on_plateau": {"patience": 1},
}
METRICS = [3.0, 2.0, 2.5, 2.5, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def warm_up(optimizer: torch.optim.Optimizer) -> Any:
    """Schedulers one after the other: a function of an optimizer."""
    parts = [lr_scheduler.LinearLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[3])


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(2))


def scheduled(schedule: Schedule) -> Optimizer:
    optimizer = Optimizer("sgd", opt_kwargs={"lr": 0.5, "momentum": 0.9}, schedule=schedule)
    optimizer.build({"p": parameter()})
    return optimizer


def moved(optimizer: Optimizer, metrics: list[float]) -> list[float]:
    """The rates before each of some moves."""
    rates = []
    for value in metrics:
        rates.append(optimizer.rate)
        optimizer.step()
        assert optimizer.schedule is not None
        optimizer.move_on(value) if optimizer.schedule.needs_metric else optimizer.move_on()
    return rates


def by_hand(make: Any, kwargs: dict[str, Any], metrics: list[float]) -> list[float]:
    optimizer = torch.optim.SGD([parameter()], lr=0.5, momentum=0.9)
    scheduler, rates = make(optimizer, **kwargs), []
    for value in metrics:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(value) if make is lr_scheduler.ReduceLROnPlateau else scheduler.step()
    return rates


@pytest.mark.parametrize("name", sorted(schedule_classes()))
def test_every_schedule_of_torch_is_torchs_by_every_way_to_write_it(name: str) -> None:
    cls = schedule_classes()[name]
    own = by_hand(cls, KWARGS.get(name, {}), METRICS)
    for spelling in (name, cls.__name__, cls.__name__.lower(), cls):
        schedule = Schedule(spelling, schedule_kwargs=KWARGS.get(name))
        assert schedule.name == name
        assert moved(scheduled(schedule), METRICS) == own


@pytest.mark.parametrize("name", [*sorted(schedule_classes()), "function"])
def test_a_schedule_goes_on_from_its_state(name: str, tmp_path: Any) -> None:
    schedule = Schedule(warm_up if name == "function" else name, schedule_kwargs=KWARGS.get(name))
    whole, first, second = (scheduled(schedule) for _ in range(3))
    own = moved(whole, METRICS)
    assert moved(first, METRICS[:5]) == own[:5]
    path = codec.save(tmp_path / "state", "checkpoint", {"optimizer": first.get_state()}, overwrite=True)
    second.set_state(codec.load(path, "checkpoint")["optimizer"])
    assert moved(second, METRICS[5:]) == own[5:]


def test_other_parameters_go_on_at_the_same_place() -> None:
    optimizer = scheduled(Schedule("step", schedule_kwargs={"step_size": 2}))
    rates = moved(optimizer, METRICS[:3])
    optimizer.build({"p": parameter(), "q": parameter()})
    rates += moved(optimizer, METRICS[:4])
    assert rates == pytest.approx(by_hand(lr_scheduler.StepLR, {"step_size": 2}, METRICS[:7]))


def test_whatever_means_a_schedule_becomes_one() -> None:
    made = Schedule(lr_scheduler.StepLR, schedule_kwargs={"step_size": 2})
    assert as_schedule(made) is made
    assert as_schedule(functools.partial(lr_scheduler.StepLR, step_size=2)) == made
    assert as_schedule("linear") == Schedule("linear")
    assert as_schedule(warm_up).name == "warm_up"
    assert Optimizer("sgd", schedule="linear") == Optimizer("sgd", schedule=Schedule("linear"))
    assert Schedule.from_config(made.get_config()) == made


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"schedule": "cosine_anealing"}, OptimizerError, "Unknown schedule.*mean 'cosine_annealing'"),
        ({"schedule": "step"}, OptimizerError, "StepLR needs 'step_size'"),
        ({"schedule": "step", "schedule_kwargs": {"stepsize": 1}}, OptimizerError, "mean 'step_size'"),
        ({"schedule": "linear", "every": "epochs"}, InvalidValueError, "Unknown every.*mean 'epoch'"),
        ({"schedule": "reduce_on_plateau", "every": "batch"}, OptimizerError, "leave every out"),
        ({"schedule": 3}, InvalidTypeError, "schedule must be a name, a class or a function, got 3"),
        ({"schedule": warm_up, "schedule_kwargs": {"a": 1}}, OptimizerError, "not with a function"),
        ({"schedule": "linear", "monitor": 3, "every": ""}, InvalidValueError, "(?s)Schedule has 2 faults"),
    ],
)
def test_mistakes_are_told_at_once(arguments: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        Schedule(**arguments)


def test_a_function_that_makes_no_schedule_is_told_when_it_is_called() -> None:
    with pytest.raises(OptimizerError, match="must make a scheduler of torch, it made a int"):
        scheduled(Schedule(lambda optimizer: 3))


def test_without_a_schedule_nothing_moves_on() -> None:
    with pytest.raises(StateError, match="'sgd' has no schedule"):
        Optimizer("sgd").move_on()


def test_a_schedule_that_is_over_says_whose_it_is_and_how_to_go_on():
    schedule = Schedule("one_cycle", schedule_kwargs={"max_lr": 0.1, "total_steps": 2}, every="batch")
    optimizer = Optimizer("sgd", schedule=schedule)
    optimizer.build({"w": torch.nn.Parameter(torch.zeros(1))})
    for _ in range(2):
        optimizer.move_on()
    with pytest.raises(OptimizerError, match=r"'one_cycle'.* of optimizer 'sgd' cannot go on"):
        optimizer.move_on()


def test_what_is_missing_is_told_with_how_to_say_it() -> None:
    with pytest.raises(
        OptimizerError, match=r"StepLR needs 'step_size': Schedule\(\"step\", schedule_kwargs="
    ):
        Schedule("step")
    with pytest.raises(
        OptimizerError, match=r"CyclicLR needs 'max_lr': .*\{\"base_lr\": ..., \"max_lr\": ...\}"
    ):
        Schedule("cyclic", schedule_kwargs={"base_lr": 0.1})
    with pytest.raises(OptimizerError, match="'SequentialLR' is made of others; give a function"):
        Schedule("SequentialLR")
