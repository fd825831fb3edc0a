"""Progress of a run in a terminal, as a listener on the event bus.

It knows no experiment or phase: what it shows is what the events say.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

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
            self._panel.show(event)
            if isinstance(event, RunEnded):
                label = self._panel.label
                self.close()
                if event.status == "stopped":
                    ended = (
                        f"{label}: stopped after {event.duration_s:.1f} s; what was done is in the results."
                    )
                    self._console.print(Text(ended))

    def close(self) -> None:
        """Take the panel down; its lines stay if the run was asked to persist them."""
        if self._panel is not None:
            self._panel.progress.stop()
        self._panel = None


class _TimeColumn(TimeRemainingColumn):
    """The time a line needs yet, and when it has ended the time it took."""

    def render(self, task: Task) -> Text:
        took: float | None = task.fields["took_s"]
        return super().render(task) if took is None else Text(f"{took:.1f} s", style="progress.elapsed")


DRAWINGS_PER_S = 4
"""Each takes some milliseconds from the run; rich's own ten are a tenth of a small network's training."""


def _lines(console: Console, *, transient: bool) -> Progress:
    label = Column(no_wrap=True, overflow="ellipsis", max_width=32)
    values = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(  # labels are data: as markup, one such as "[red]" would be obeyed
        TextColumn("{task.description}", markup=False, table_column=label),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        _TimeColumn(compact=True),
        TextColumn("{task.fields[values]}", markup=False, table_column=values),
        console=console,
        transient=transient,
        expand=True,
        refresh_per_second=DRAWINGS_PER_S,
    )


class _Panel:
    """The lines of one run: one for its plan if that has several phases, then those of each phase."""

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

    def show(self, event: Event) -> None:
        """Show what happened within the run."""
        if isinstance(event, PhaseStarted):
            self.progress.update(self._line, count=f"phase {self._n_ended + 1}/{self._n_phases}")
            self._phase = _PhaseLines(event, self._options, self.progress)
            if self._phase.is_shown:
                self.progress.start()
        elif isinstance(event, PhaseEnded):
            self._n_ended += 1
            self.progress.update(self._line, completed=self._n_ended)
        elif isinstance(event, RunEnded):
            self.progress.update(self._line, took_s=event.duration_s)
        if self._phase is not None:
            self._phase.show(event)


class _PhaseLines:
    """The lines of one phase: all its steps, and the batches of the present epoch."""

    def __init__(self, phase: PhaseStarted, options: DisplayOptions, progress: Progress) -> None:
        self._phase = phase
        self._options = options
        self._progress = progress
        self._label = "/".join(phase.path[1:] or phase.path)
        self._values: dict[str, float] = {}
        self._epoch_started_s = phase.time_s
        trains = phase.kind == "train"
        shows_steps = options.show_eval_progress if phase.kind == "eval" else options.show_training_progress
        shows_batches = trains and options.show_sampler_progress
        self.is_shown = shows_steps or shows_batches
        n_steps = None if phase.kind == "fit" else phase.n_epochs * phase.n_batches
        self._steps = _add(progress, self._label, n_steps, visible=shows_steps)
        label = "  batches" if shows_steps else f"{self._label} batches"
        self._batches = _add(progress, label, phase.n_batches, visible=shows_batches)

    def show(self, event: Event) -> None:
        """Show what happened within the phase."""
        match event:
            case EpochStarted():
                self._start_epoch(event)
            case CompileStarted():
                self._progress.update(self._steps, values="compiling")
            case BatchesEnded():
                self._end_batches(event)
            case EpochEnded():
                self._end_epoch(event)
            case PhaseEnded():
                self._end(event)

    def _start_epoch(self, event: EpochStarted) -> None:
        self._epoch_started_s = event.time_s
        # Another total makes rich forget the epoch before; its own reset() draws the whole panel each time.
        self._progress.update(self._batches, total=-1, completed=0)
        self._progress.update(self._batches, total=self._phase.n_batches, count=f"0/{self._phase.n_batches}")
        if self._phase.kind == "train":
            self._progress.update(self._steps, count=self._epoch(event.epoch))

    def _end_batches(self, event: BatchesEnded) -> None:
        if len(event.losses):
            self._note(dict(zip(self._phase.losses, event.losses.mean(axis=0).tolist(), strict=True)))
        done = event.epoch * self._phase.n_batches + event.n_done
        count = f"{event.n_done}/{self._phase.n_batches}"
        self._progress.update(self._batches, completed=event.n_done, count=count)
        self._progress.update(self._steps, completed=done, values=self._text())
        if self._phase.kind == "eval":
            self._progress.update(self._steps, count=count)

    def _end_epoch(self, event: EpochEnded) -> None:
        self._note(event.metrics)
        self._progress.update(self._steps, values=self._text())
        if self._options.persist_epoch_progress and self._options.show_training_progress:
            took = f"{event.time_s - self._epoch_started_s:.1f} s"
            line = "  ".join([self._label, self._epoch(event.epoch), self._text(), took])
            self._progress.console.print(Text(line), soft_wrap=True)

    def _end(self, event: PhaseEnded) -> None:
        self._progress.remove_task(self._batches)
        if not self._options.persist_progress:
            self._progress.remove_task(self._steps)
            return
        self._note(event.metrics)
        ended = self._label if event.status == "completed" else f"{self._label} ({event.status})"
        self._progress.update(self._steps, description=ended, values=self._text(), took_s=event.duration_s)
        if self._phase.kind == "fit":
            self._progress.update(self._steps, total=1, completed=1)

    def _note(self, metrics: Mapping[str, float]) -> None:
        shown = (*self._phase.losses, self._options.val_loss_metric)
        self._values |= {name: metrics[name] for name in shown if name in metrics}

    def _text(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._values.items())

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self._phase.n_epochs}"


def _add(progress: Progress, label: str, total: int | None, *, visible: bool) -> TaskID:
    return progress.add_task(label, total=total, visible=visible, count="", values="", took_s=None)
