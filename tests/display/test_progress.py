"""What a terminal shows of a run, driven by the events that a run emits."""

import io
import itertools
import re
import sys
import threading

import numpy as np
import pytest
from rich.console import Console

from modularml.base.events import (
    BatchesEnded,
    CompileStarted,
    DisplayOptions,
    EpochEnded,
    EpochStarted,
    EventBus,
    GroupEnded,
    GroupStarted,
    PhaseEnded,
    PhaseStarted,
    PlanEntry,
    RunEnded,
    RunStarted,
)
from modularml.display.pacing import MAX_RATE
from modularml.display.progress import ConsoleProgress

ROOT = "my_experiment"
N_EPOCHS, N_BATCHES = 3, 5
SHOWN = ("show_sampler_progress", "show_training_progress", "show_eval_progress")


def started(run_id="r", kinds=("train",), **options):
    plan = tuple(PlanEntry(path=(ROOT, kind), kind=kind) for kind in kinds)
    shown = DisplayOptions(**options)
    return RunStarted(run_id=run_id, label=ROOT, plan=plan, preview=False, options=shown, stop=lambda: None)


def phase(kind, run_id="r", path=None, status="completed"):
    """The events of one phase, as the runner emits them."""
    path = path or (ROOT, kind)
    n_epochs, n_batches = (N_EPOCHS, N_BATCHES) if kind == "train" else (1, N_BATCHES)
    here = {"run_id": run_id, "path": path}
    yield PhaseStarted(**here, kind=kind, n_epochs=n_epochs, n_batches=n_batches, losses=("mse",))
    for epoch in range(n_epochs):
        at_s = 100.0 + 2 * epoch
        yield EpochStarted(**here, epoch=epoch, time_s=at_s)
        for batch in range(n_batches):
            yield BatchesEnded(**here, epoch=epoch, n_done=batch + 1, losses=np.array([[0.25], [0.75]]))
        metrics = {"mse": 0.125, "val_loss": 0.0625, "accuracy": 0.9}
        yield EpochEnded(**here, epoch=epoch, metrics=metrics, time_s=at_s + 1.5)
    yield PhaseEnded(**here, status=status, metrics={"mse": 0.03125}, duration_s=4.5)


def ended(run_id="r", status="completed"):
    return RunEnded(run_id=run_id, status=status, duration_s=7.5)


class Terminal:
    """A console that remembers what was written, and the last picture that stood on it."""

    def __init__(self, width=100):
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=True, width=width, color_system=None)
        self.progress = ConsoleProgress(self.console)
        self.bus = EventBus()
        self.bus.subscribe(self.progress)

    def emit(self, *events):
        for event in events:
            self.bus.emit(event)
            if self.progress._panel is not None:
                self.progress._panel.draw()  # which else comes when it is due

    @property
    def text(self):
        return self.file.getvalue()

    @property
    def screen(self):
        """The lines that a terminal would show by now."""
        lines, row = [""], 0
        for token in _tokens(self.text):
            if token == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif token == "\x1b[1A":
                row -= 1
            elif token == "\x1b[2K":
                lines[row] = ""
            elif not token.startswith("\x1b") and token != "\r":
                lines[row] += token
        return [line.rstrip() for line in lines if line.strip()]


def _tokens(text):
    return re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text)


def assert_ended(threads):
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture
def terminal():
    return Terminal()


def test_a_running_phase_shows_epoch_batch_losses_and_time(terminal):
    events = list(phase("train"))
    terminal.emit(started(), *events[:11])
    steps, batches = terminal.screen[-2:]
    assert steps.startswith("train ")
    assert "epoch 2/3" in steps
    assert "mse 0.5000  val_loss 0.06250" in steps
    assert "accuracy" not in steps
    assert batches.split()[0] == "batches"
    assert "2/5" in batches
    terminal.progress.close()


def test_in_80_columns_the_phase_and_its_loss_are_in_sight():
    terminal, path = Terminal(width=80), (ROOT, "a group of phases with a long name", "fine tune")
    terminal.emit(started(), *list(phase("train", path=path))[:11])
    (line,) = (one for one in terminal.screen if "epoch" in one)
    assert line.startswith("…/fine tune") and "mse 0.5000" in line
    terminal.progress.close()


def test_by_default_nothing_is_left_behind(terminal):
    terminal.emit(started(), *phase("train"), ended())
    assert "epoch 3/3" in terminal.text
    assert terminal.screen == []


def test_a_panel_that_persists_keeps_its_phases_and_how_long_they_took(terminal):
    kinds = ("train", "fit", "eval")
    terminal.emit(started(kinds=kinds, persist_progress=True, show_eval_progress=True))
    for kind in kinds:
        terminal.emit(*phase(kind))
    terminal.emit(ended())
    run, train, fit, evaluation = terminal.screen
    assert run.startswith(ROOT)
    assert "phase 3/3" in run
    assert "7.5 s" in run
    assert train.split()[0] == "train"
    assert "4.5 s mse 0.03125  val_loss 0.06250" in train
    assert fit.split()[0] == "fit"
    assert "5/5" in evaluation


def test_an_early_end_is_told(terminal):
    terminal.emit(started(persist_progress=True), *phase("train", status="stopped"), ended(status="stopped"))
    assert terminal.screen[0].startswith("train (stopped)")


def test_a_stop_is_told_also_where_no_line_stays(terminal):
    terminal.emit(started(), *phase("train", status="stopped"), ended(status="stopped"))
    assert terminal.screen[0].startswith(f"{ROOT}: stopped after 7.5 s")
    assert "[" not in terminal.screen[0]


def test_epochs_that_persist_are_a_line_each(terminal):
    terminal.emit(started(persist_epoch_progress=True), *phase("train"), ended())
    assert terminal.screen == [
        f"train  epoch {epoch}/3  mse 0.1250  val_loss 0.06250  1.5 s" for epoch in (1, 2, 3)
    ]


def test_validation_loss_is_the_metric_of_that_name(terminal):
    terminal.emit(started(persist_epoch_progress=True, val_loss_metric="accuracy"), *phase("train"), ended())
    assert terminal.screen[0] == "train  epoch 1/3  mse 0.1250  accuracy 0.9000  1.5 s"


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("kind", ["train", "fit", "eval"])
def test_each_option_shows_its_own_line_and_no_other(kind, flags):
    terminal = Terminal()
    options = dict(zip(SHOWN, flags, strict=True))
    sampler, training, evaluation = flags
    terminal.emit(started(kinds=(kind,), **options), *phase(kind), ended())
    shows_steps = evaluation if kind == "eval" else training
    shows_batches = kind == "train" and sampler
    if not (shows_steps or shows_batches):
        assert terminal.text == ""
    assert ("batches" in terminal.text) == shows_batches
    assert ("mse" in terminal.text) == shows_steps


def test_an_evaluation_that_is_not_shown_opens_no_panel(terminal):
    terminal.emit(started(kinds=("eval", "eval")), *phase("eval"), *phase("eval"), ended())
    assert terminal.text == ""


def test_nothing_is_written_to_what_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    bus = EventBus()
    bus.subscribe(ConsoleProgress())
    for event in (started(persist_progress=True, persist_epoch_progress=True), *phase("train"), ended()):
        bus.emit(event)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("n_seen", range(1, 2 + len(list(phase("train")))))
def test_a_run_that_fails_anywhere_leaves_a_clean_terminal(n_seen):
    terminal = Terminal()
    before, stdout = set(threading.enumerate()), sys.stdout
    events = [started(), *phase("train")]
    terminal.emit(*events[:n_seen], ended(status="failed"))
    assert terminal.screen == []
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h")  # the cursor is back
    assert_ended(set(threading.enumerate()) - before)
    assert sys.stdout is stdout


def test_closing_is_enough_and_may_be_done_twice(terminal):
    before = set(threading.enumerate())
    terminal.emit(started(), *list(phase("train"))[:6])
    terminal.progress.close()
    terminal.progress.close()
    assert terminal.screen == []
    assert_ended(set(threading.enumerate()) - before)


def test_one_run_after_the_other_and_one_beside_it(terminal):
    options = {"persist_progress": True}
    terminal.emit(started("a", **options), started("b", **options))
    for first, second in zip(phase("train", "a"), phase("train", "b", ("other", "beside")), strict=True):
        terminal.emit(first, second)
    terminal.emit(ended("b"), ended("a"))
    assert [line.split()[0] for line in terminal.screen] == ["train"]
    terminal.emit(started("c", **options), *phase("train", "c", (ROOT, "again")), ended("c"))
    assert [line.split()[0] for line in terminal.screen] == ["train", "again"]


def test_phases_in_groups_are_told_apart_by_their_path(terminal):
    terminal.emit(started(persist_progress=True))
    for fold in ("fold_1", "fold_2"):
        here = {"run_id": "r", "path": (ROOT, fold)}
        terminal.emit(GroupStarted(**here), *phase("train", path=(ROOT, fold, "train")), GroupEnded(**here))
    terminal.emit(ended())
    assert [line.split()[0] for line in terminal.screen] == ["fold_1/train", "fold_2/train"]


def test_labels_are_no_markup(terminal):
    options = {"persist_progress": True, "persist_epoch_progress": True}
    terminal.emit(started(**options), *phase("train", path=(ROOT, "[red]a[/b]")), ended())
    assert all(line.startswith("[red]a[/b] ") for line in terminal.screen)
    assert len(terminal.screen) == 4


def test_phases_without_losses_or_batches_are_shown_too(terminal):
    here = {"run_id": "r", "path": (ROOT, "train")}
    terminal.emit(started(persist_progress=True))
    terminal.emit(PhaseStarted(**here, kind="train", n_epochs=1, n_batches=0, losses=()))
    terminal.emit(EpochStarted(**here, epoch=0))
    terminal.emit(BatchesEnded(**here, epoch=0, n_done=0, losses=np.empty((0, 0))))
    terminal.emit(EpochEnded(**here, epoch=0, metrics={}))
    terminal.emit(PhaseEnded(**here, status="completed", metrics={}, duration_s=0.1), ended())
    assert "epoch 1/1" in terminal.screen[0]


def test_compiling_is_told_until_batches_end():
    terminal = Terminal()
    start, epoch, batches, *_ = phase("train")
    terminal.emit(started(), start, epoch, CompileStarted(run_id="r", path=start.path))
    assert "compiling" in terminal.text
    before = len(terminal.text)
    terminal.emit(batches)
    assert "compiling" not in terminal.text[before:] and "mse 0.5" in terminal.text[before:]


def test_batches_are_noted_and_drawn_when_that_is_due(clock, terminal):
    start, epoch, first, *others = phase("train")
    for event in (started(), start, epoch, first):
        terminal.bus.emit(event)
    drawn = terminal.text
    assert "mse" not in drawn
    for _ in range(100):
        terminal.bus.emit(first)
    assert terminal.text == drawn
    clock.pass_s(1.0)
    terminal.bus.emit(others[0])
    assert "2/5" in terminal.screen[-1]
    assert "mse 0.5" in terminal.screen[-2]
    terminal.progress.close()


def test_where_nothing_happens_what_was_noted_is_drawn_all_the_same(clock, terminal):
    start, epoch, first, *_ = phase("train")
    for event in (started(), start, epoch, first):
        terminal.bus.emit(event)
    clock.pass_s(1.0)
    while "mse 0.5" not in terminal.text:
        threading.Event().wait(0.01)
    terminal.progress.close()


def test_every_epoch_that_persists_has_its_line_however_many_come_at_once(clock, terminal):
    here = {"run_id": "r", "path": (ROOT, "train")}
    terminal.bus.emit(started(persist_epoch_progress=True))
    terminal.bus.emit(PhaseStarted(**here, kind="train", n_epochs=100, n_batches=1, losses=("mse",)))
    for epoch in range(100):
        terminal.bus.emit(EpochStarted(**here, epoch=epoch, time_s=float(epoch)))
        terminal.bus.emit(EpochEnded(**here, epoch=epoch, metrics={"mse": 0.5}, time_s=float(epoch)))
    assert terminal.text.count("  0 ms") <= MAX_RATE
    terminal.bus.emit(ended())
    lines = [f"train  epoch {epoch}/100  mse 0.5000  0 ms" for epoch in range(1, 101)]
    assert terminal.screen == lines
