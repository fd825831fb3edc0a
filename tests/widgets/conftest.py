"""Runs told by hand: events at times that are chosen, and a comm that keeps what is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import comm
import comm.base_comm
import numpy as np
import pytest

from modularml.base.events import (
    BatchesDrawn,
    BatchesEnded,
    DisplayOptions,
    EpochEnded,
    EpochStarted,
    Event,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
)
from modularml.display.diagram import Diagram
from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec

N_EPOCHS, N_BATCHES = 3, 4
PICTURE = Diagram(
    GraphSpec(
        title="train",
        nodes=(
            NodeSpec(id="n0", kind="ModelNode", title="ModelNode", name="MLP"),
            NodeSpec(id="n1", kind="FeatureSet", title="FeatureSet", name="Sensor"),
            NodeSpec(id="n2", kind="FeatureSampler", title="Sampler"),
            NodeSpec(id="n3", kind="AppliedLoss", title="AppliedLoss", name="mse", shape="stadium"),
        ),
        edges=(EdgeSpec(id="e0", source="n1", target="n2"), EdgeSpec(id="e1", source="n2", target="n0")),
    )
)
FROZEN = Diagram(
    GraphSpec(
        title="eval",
        nodes=(NodeSpec(id="n0", kind="ModelNodeFrozen", title="ModelNode", name="MLP"),),
        edges=(),
    )
)
PLAN = (
    PlanEntry(path=("train",), kind="train", n_epochs=N_EPOCHS, draw=lambda: PICTURE),
    PlanEntry(path=("eval",), kind="eval", draw=lambda: FROZEN),
)


class Script:
    """Makes the events of one run, a tenth of a second apart."""

    def __init__(self, run_id: str = "r1") -> None:
        self.run_id = run_id
        self.now_s = 1000.0

    def __call__(self, event_type: type[Event], /, **fields: Any) -> Event:
        self.now_s += 0.1
        return event_type(run_id=self.run_id, time_s=self.now_s, **fields)

    def start(self, **fields: Any) -> RunStarted:
        """The start of a run; keywords of `DisplayOptions` among `fields` are taken as such."""
        options = {name: fields.pop(name) for name in DisplayOptions.__dataclass_fields__ if name in fields}
        given = {"label": "my_experiment", "plan": PLAN, "preview": False, "stop": lambda: None, **fields}
        event = self(RunStarted, options=DisplayOptions(**options), **given)
        assert isinstance(event, RunStarted)
        return event

    def train(self, path: tuple[str, ...] = ("train",), n_epochs: int = N_EPOCHS) -> Iterator[Event]:
        yield self(
            PhaseStarted,
            path=path,
            kind="train",
            n_epochs=n_epochs,
            n_batches=N_BATCHES,
            losses=("mse",),
            rates={"lr": 0.001},
            devices={"MLP": "cpu"},
        )
        for epoch in range(n_epochs):
            yield self(EpochStarted, path=path, epoch=epoch)
            yield self(BatchesDrawn, path=path, epoch=epoch, n_batches=N_BATCHES, duration_s=0.0)
            losses = 1 / (1 + epoch * N_BATCHES + np.arange(N_BATCHES))
            for i, loss in enumerate(losses):
                yield self(
                    BatchesEnded,
                    path=path,
                    epoch=epoch,
                    n_done=i + 1,
                    losses=np.array([[loss]]),
                    n_samples=32,
                )
            metrics = {"mse": float(losses.mean()), "val_loss": 1 / (epoch + 2)}
            yield self(EpochEnded, path=path, epoch=epoch, metrics=metrics, best_epoch=epoch)
        yield self(PhaseEnded, path=path, status="completed", metrics=metrics, duration_s=1.5)

    def evaluate(self) -> Iterator[Event]:
        path = ("eval",)
        yield self(PhaseStarted, path=path, kind="eval", n_epochs=1, n_batches=2, losses=("mse",))
        yield self(EpochStarted, path=path, epoch=0)
        yield self(BatchesEnded, path=path, epoch=0, n_done=2, losses=np.array([[0.2], [0.4]]))
        yield self(EpochEnded, path=path, epoch=0, metrics={"mse": 0.3})
        yield self(PhaseEnded, path=path, status="completed", metrics={"mse": 0.3}, duration_s=0.2)

    def end(self, status: str = "completed", error: str | None = None) -> RunEnded:
        event = self(RunEnded, status=status, duration_s=2.5, error=error)
        assert isinstance(event, RunEnded)
        return event

    def whole(self, **fields: Any) -> Iterator[Event]:
        """Training, evaluation and the end, after the start."""
        yield self.start(**fields)
        yield from self.train()
        yield from self.evaluate()
        yield self.end()


class RecordingComm(comm.base_comm.BaseComm):
    """A comm with no front end: it keeps what would be sent, and insists that it is JSON."""

    opened: ClassVar[list[RecordingComm]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: list[tuple[str, Any]] = []
        super().__init__(*args, **kwargs)
        RecordingComm.opened.append(self)

    def publish_msg(self, msg_type: str, data: Any = None, **_: Any) -> None:
        json.dumps(data, allow_nan=False)
        self.sent.append((msg_type, data))

    @property
    def custom(self) -> list[dict[str, Any]]:
        """The custom messages."""
        return [d["content"] for kind, d in self.sent if kind == "comm_msg" and d.get("method") == "custom"]

    def receive(self, **content: Any) -> None:
        """Handle a custom message from the browser."""
        self.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> list[RecordingComm]:
    """The comms that widgets opened, in order."""
    monkeypatch.setattr(comm, "create_comm", RecordingComm)
    monkeypatch.setattr(RecordingComm, "opened", [])
    return RecordingComm.opened
