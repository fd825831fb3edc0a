"""Progress of a run in a terminal, as a listener on the event bus.

It knows no experiment or phase: what it shows is what the events say.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from modularml.base.events import (
    BatchesEnded,
    CompileStarted,
    DisplayOptions,
    EpochEnded,
    EpochStarted,
    Event,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
)
from modularml.display.figures import format_s, format_value
from modularml.display.pacing import URGENT, Budget

_NARROW = 100  # columns; in fewer, bars and labels make room for losses
_LONG = 24

BEAT_S = 0.25
"""Where nothing happens the lines are looked at so often: bars move and time passes."""


class ConsoleProgress:
    """Shows a run in a terminal: the phase that runs, its epochs, batches, losses and time left.

    One panel a run: it opens with the first phase that is to be shown and closes with
    the run, however that ends. Where output is no terminal, nothing is written at all.

    Args:
        console: Where to draw; standard output if None.
    """

    def __init__(self, console: Console | None = None) -> None:
        # Rich takes a pipe for a terminal where FORCE_COLOR is set, as many CI systems do.
        to_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._console = console or Console(force_interactive=None if to_terminal else False)
        self._panel: _Panel | None = None

    def __call__(self, event: Event) -> None:
        """Show what happened."""
        if self._panel is None:
            if isinstance(event, RunStarted) and self._console.is_interactive:
                self._panel = _Panel(event, self._console)
        elif event.run_id == self._panel.run_id:  # two panels in one terminal would overwrite each other
            self._panel.take(event)
            if isinstance(event, RunEnded):
                label = self._panel.label
                self.close()
                if event.status == "stopped":
                    took = format_s(event.duration_s)
                    ended = f"{label}: stopped after {took}; what was done is in the results."
                    self._console.print(Text(ended))

    def close(self) -> None:
        """Take the panel down; its lines stay if the run was asked to persist them."""
        if self._panel is not None:
            self._panel.close()
        self._panel = None


class _TimeColumn(TimeRemainingColumn):
    """The time a line needs yet, and when it has ended the time it took."""

    def render(self, task: Task) -> Text:
        took: float | None = task.fields["took_s"]
        return super().render(task) if took is None else Text(format_s(took), style="progress.elapsed")


def _lines(console: Console, *, transient: bool) -> Progress:
    is_narrow = console.width < _NARROW
    label = Column(no_wrap=True, overflow="ellipsis", max_width=24 if is_narrow else 32)
    values = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(  # labels are data: as markup, one such as "[red]" would be obeyed
        TextColumn("{task.description}", markup=False, table_column=label),
        BarColumn(bar_width=12 if is_narrow else 24),
        TextColumn("{task.fields[count]}", markup=False),
        _TimeColumn(compact=True),
        TextColumn("{task.fields[values]}", markup=False, table_column=values),
        console=console,
        transient=transient,
        expand=True,
        auto_refresh=False,
    )


class _Panel:
    """The lines of one run: one for its plan if that has several phases, then those of each phase.

    What happens is noted, and drawn as often as a `Budget` allows: by the event that finds it due,
    or by a thread where events are long in coming, as time goes on without them.
    """

    def __init__(self, run: RunStarted, console: Console) -> None:
        self.run_id, self.label = run.run_id, run.label
        self.progress = _lines(console, transient=not run.options.persist_progress)
        if run.epochs_before:
            console.print(Text(run.title))
        self._options = run.options
        self._n_phases = sum(entry.kind != "group" for entry in run.plan)
        self._n_ended = 0
        label = f"{run.label} (preview)" if run.preview else run.label
        self._line = _add(self.progress, label, self._n_phases, visible=self._n_phases > 1)
        self._phase: _PhaseLines | None = None
        self._budget, self._lock = Budget(), threading.RLock()
        self._is_closed = threading.Event()

    def take(self, event: Event) -> None:
        """Note what happened within the run, and draw if it is time."""
        with self._lock:
            self._note(event)
            # Lines of epochs stay among what is printed meanwhile, so they come in time.
            is_urgent = isinstance(event, URGENT) or (self._phase is not None and self._phase.has_epochs)
            if self.progress.live.is_started and self._budget.is_due(is_urgent=is_urgent):
                self.draw()

    def draw(self) -> None:
        """Draw what was noted."""
        with self._lock, self._budget.drawing():
            if not self._print_epochs():  # which draws all
                self.progress.refresh()

    def close(self) -> None:
        """Draw all, for the last time."""
        with self._lock:
            self._is_closed.set()
            self._print_epochs()
            self.progress.stop()

    def _note(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._print_epochs()
            self.progress.update(self._line, count=f"phase {self._n_ended + 1}/{self._n_phases}")
            self._phase = _PhaseLines(event, self._options, self.progress)
            if self._phase.is_shown and not self.progress.live.is_started:
                self.progress.live.start()
                threading.Thread(target=self._draw_in_time, daemon=True).start()
        elif isinstance(event, PhaseEnded):
            self._n_ended += 1
            self.progress.update(self._line, completed=self._n_ended)
        elif isinstance(event, RunEnded):
            self.progress.update(self._line, took_s=event.duration_s)
        if self._phase is not None:
            self._phase.note(event)

    def _print_epochs(self) -> bool:
        """Bring the lines of the phase up to date, print its epochs, and tell whether there were any."""
        epochs = self._phase.settle() if self._phase is not None else []
        if epochs:
            self.progress.console.print(Text("\n".join(epochs)), soft_wrap=True)
        return bool(epochs)

    def _draw_in_time(self) -> None:
        while not self._is_closed.wait(BEAT_S):
            with self._lock:
                if not self._is_closed.is_set() and self._budget.is_due():
                    self.draw()


class _PhaseLines:
    """The lines of one phase: all its steps, and the batches of the present epoch."""

    def __init__(self, phase: PhaseStarted, options: DisplayOptions, progress: Progress) -> None:
        self._phase = phase
        self._options = options
        self._progress = progress
        self._label = "/".join(phase.path[1:] or phase.path)
        # Of a long label the end says more than the groups that it is in.
        self._line_label = (
            f"…/{phase.path[-1]}" if len(self._label) > _LONG and "/" in self._label else self._label
        )
        self._values: dict[str, float] = {}
        self._losses: np.ndarray | None = None
        self._epoch = self._n_done = 0
        self._shown_epoch = 0
        self._is_compiling = self._has_ended = False
        self._epochs: list[str] = []
        self._epoch_started_s = phase.time_s
        trains = phase.kind == "train"
        shows_steps = options.show_eval_progress if phase.kind == "eval" else options.show_training_progress
        shows_batches = trains and options.show_sampler_progress
        self.is_shown = shows_steps or shows_batches
        n_steps = None if phase.kind == "fit" else phase.n_epochs * phase.n_batches
        self._steps = _add(progress, self._line_label, n_steps, visible=shows_steps)
        label = "  batches" if shows_steps else f"{self._line_label} batches"
        self._batches = _add(progress, label, phase.n_batches, visible=shows_batches)

    @property
    def has_epochs(self) -> bool:
        """Whether there are epochs to print."""
        return bool(self._epochs)

    def note(self, event: Event) -> None:
        """Note what happened within the phase."""
        match event:
            case EpochStarted():
                self._epoch, self._n_done = event.epoch, 0
                self._epoch_started_s = event.time_s
            case CompileStarted():
                self._is_compiling = True
            case BatchesEnded():
                self._is_compiling = False
                self._epoch, self._n_done = event.epoch, event.n_done
                if len(event.losses):
                    self._losses = event.losses
            case EpochEnded():
                self._end_epoch(event)
            case PhaseEnded():
                self._end(event)

    def settle(self) -> list[str]:
        """Bring the lines up to date with what was noted, and return those of epochs that ended since."""
        if not self._has_ended:
            if self._epoch != self._shown_epoch:
                # Another total makes rich forget the epoch before; its own reset() draws the whole panel.
                self._progress.update(self._batches, total=-1, completed=0)
                self._shown_epoch = self._epoch
            n_batches, n_done = self._phase.n_batches, self._n_done
            count = f"{n_done}/{n_batches}"
            self._progress.update(self._batches, total=n_batches, completed=n_done, count=count)
            done = self._epoch * n_batches + n_done
            count = {"train": self._nth(self._epoch), "eval": count}.get(self._phase.kind, "")
            self._progress.update(self._steps, completed=done, count=count, values=self._text())
        epochs, self._epochs = self._epochs, []
        return epochs

    def _end_epoch(self, event: EpochEnded) -> None:
        self._losses = None  # the metrics hold their means
        self._note(event.metrics)
        if self._options.persist_epoch_progress and self._options.show_training_progress:
            took = format_s(event.time_s - self._epoch_started_s)
            self._epochs.append("  ".join([self._label, self._nth(event.epoch), self._text(), took]))

    def _end(self, event: PhaseEnded) -> None:
        self._epochs = self.settle()
        self._has_ended, self._is_compiling = True, False
        self._progress.remove_task(self._batches)
        if not self._options.persist_progress:
            self._progress.remove_task(self._steps)
            return
        self._note(event.metrics)
        ended = self._line_label + ("" if event.status == "completed" else f" ({event.status})")
        self._progress.update(self._steps, description=ended, values=self._text(), took_s=event.duration_s)
        if self._phase.kind == "fit":
            self._progress.update(self._steps, total=1, completed=1)

    def _note(self, metrics: Mapping[str, float]) -> None:
        shown = (*self._phase.losses, self._options.val_loss_metric)
        self._values |= {name: metrics[name] for name in shown if name in metrics}

    def _text(self) -> str:
        if self._is_compiling:
            return "compiling"
        if self._losses is not None:
            self._note(dict(zip(self._phase.losses, self._losses.mean(axis=0).tolist(), strict=True)))
            self._losses = None
        return "  ".join(f"{name} {format_value(value)}" for name, value in self._values.items())

    def _nth(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self._phase.n_epochs}"


def _add(progress: Progress, label: str, total: int | None, *, visible: bool) -> TaskID:
    return progress.add_task(label, total=total, visible=visible, count="", values="", took_s=None)
