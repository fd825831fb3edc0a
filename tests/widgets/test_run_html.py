"""The static form tells the whole run, holds text as text, and can be cut out by one expression."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from modularml.base.events import BatchesEnded, EpochEnded, PhaseEnded, PhaseStarted, PlanEntry
from modularml.display.curves import COLOURS
from modularml.widgets.run_html import format_s, format_value, run_html
from modularml.widgets.run_state import RunState
from tests.opened import opened

SANITIZE = r'(?s)<div class="modularml-run".*?<!-- end of modularml-run -->'
VOID = {"img", "br"}


class Reader(HTMLParser):
    """Collects tags and texts, and insists that every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(opened(html))
        assert self.open == []

    def handle_starttag(self, tag: str, _: Any) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _: Any) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def ended(script: Any, **fields: Any) -> RunState:
    start, *events = script.whole(**fields)
    state = RunState(start)
    for event in events:
        state.apply(event)
    return state


def test_phases_states_times_and_last_values_are_told(script: Any) -> None:
    reader = Reader(run_html(ended(script), with_epochs=True))
    for text in ("my_experiment", "done in 2.5 s", "train", "3 of 3", "1.5 s", "eval", "200 ms", "0.2500"):
        assert text in reader.text
    assert {"table", "svg", "details"} <= reader.tags
    assert not reader.tags & {"script", "link", "img", "iframe"}


def test_epochs_are_kept_only_if_asked_for(script: Any) -> None:
    for is_asked in (True, False):
        assert ("train: 3 epochs" in run_html(ended(script), with_epochs=is_asked)) is is_asked


def test_the_graph_of_training_is_drawn_and_those_of_others_unfold(script: Any) -> None:
    state = ended(script)
    html = opened(run_html(state, with_epochs=False))
    assert (
        html.index("<title>train</title>") < html.index("Graph of eval") < html.index("<title>eval</title>")
    )


def test_the_graph_of_the_phase_that_failed_comes_first(script: Any) -> None:
    state = ended(script)
    state.phases[1].status = "failed"
    html = opened(run_html(state, with_epochs=False))
    assert html.index("<title>eval</title>") < html.index("Graph of train")


def test_messages_unfold_as_text(script: Any) -> None:
    state = ended(script)
    assert "Messages" not in run_html(state, with_epochs=False)
    state.add_line("WARNING", "<img src=x>")
    assert "warning: &lt;img src=x&gt;" in run_html(state, with_epochs=False)


def test_names_are_text_whatever_they_hold(script: Any) -> None:
    nasty = '<img src=x onerror="boom()">'
    plan = (PlanEntry(path=(nasty,), kind="train", n_epochs=3),)
    start = script.start(label=nasty, plan=plan)
    state = RunState(start)
    for event in script.train(path=(nasty,)):
        state.apply(event)
    state.phases[0].metrics[nasty] = 1.0
    state.apply(script.end("failed", nasty))
    reader = Reader(run_html(state, with_epochs=True))
    assert "img" not in reader.tags
    assert reader.text.count(nasty) >= 4


def test_one_expression_cuts_it_out_at_every_moment_of_a_run(script: Any) -> None:
    start, *events = script.whole()
    state = RunState(start)
    for event in events:
        state.apply(event)
        html = run_html(state, with_epochs=True)
        assert re.sub(SANITIZE, "RUN", f"a{html}b{html}c") == "aRUNbRUNc"


def test_of_several_trainings_one_curve_each_is_drawn_and_the_rest_counted(script: Any) -> None:
    paths = [(f"fold {i}", "train") for i in range(10)]
    state = RunState(script.start(plan=tuple(PlanEntry(path=p, kind="train", n_epochs=3) for p in paths)))
    for path in paths:
        for event in script.train(path=path):
            state.apply(event)
    text = Reader(run_html(state, with_epochs=True)).text
    assert "fold 0/train: mse" in text
    assert "Epochs of 10 phases" in text
    assert "fold 9/train: mse" not in text
    assert "and 2 more" in text


def broken_off(script: Any, status: str) -> RunState:
    """A run whose second epoch ended behind its third batch of four; only a stop tells of those batches."""
    state = RunState(script.start())
    for event in script.train(n_epochs=2):
        is_of_second = getattr(event, "epoch", None) == 1
        if isinstance(event, BatchesEnded) and is_of_second and (event.n_done == 4 or status != "stopped"):
            continue
        if isinstance(event, EpochEnded) and is_of_second:
            if status != "stopped":
                continue
            event = replace(event, metrics={"mse": 0.125})
        elif isinstance(event, PhaseEnded):
            event = replace(event, status=status, metrics={"mse": 0.125, "val_loss": 0.5}, reached=(1, 3))
        state.apply(event)
    state.apply(script.end(status))
    return state


@pytest.mark.parametrize("status", ["failed", "interrupted", "stopped"])
def test_what_is_last_is_told_alike_everywhere_and_named_if_its_epoch_is_not_whole(
    script: Any, status: str
) -> None:
    reader = Reader(run_html(broken_off(script, status), with_epochs=True))
    assert "1 of 2" in reader.text
    assert "epoch 2 ended after 3 of 4 batches" in reader.text
    assert "2 (3 of 4 batches)0.1250" in reader.text
    assert "train: 1 epoch" in reader.text
    for told in ("mse 0.1250", "mse 0.125"):  # of the table, of the legend
        assert told in reader.text
    assert "nan" not in reader.text


def test_a_curve_is_called_by_the_phase_alone_where_no_other_is_called_so(script: Any) -> None:
    paths = [("group", f"train {i}") for i in range(2)]
    state = RunState(script.start(plan=tuple(PlanEntry(path=p, kind="train", n_epochs=3) for p in paths)))
    for path in paths:
        for event in script.train(path=path):
            state.apply(event)
    text = Reader(run_html(state, with_epochs=False)).text
    assert "train 0: mse" in text and "group/train" not in text


def test_an_epoch_has_its_own_place_and_count_in_a_run_that_goes_on(script: Any) -> None:
    state = RunState(script.start())
    for event in script.train(n_epochs=4):
        if getattr(event, "epoch", 1) >= 1:  # the first went by in an earlier part of the run
            state.apply(event)
    state.apply(script.end())
    html = opened(run_html(state, with_epochs=True))
    text = Reader(html).text
    assert "4 of 4" in text and "train: epochs 2 to 4" in text
    whole = RunState(script.start())
    for event in script.train(n_epochs=4):
        whole.apply(event)
    ends = [_last_point(one) for one in (html, opened(run_html(whole, with_epochs=False)))]
    assert ends[0][0] == ends[1][0]


def _last_point(html: str) -> list[str]:
    """Where the first curve ends."""
    (drawn,) = re.findall(r'<path d="([^"]*)" fill="none" stroke-width="1.8"', html)[:1]
    return str(drawn).rpartition("L")[2].split()


def test_losses_that_are_all_nan_have_no_picture(script: Any) -> None:
    state = RunState(script.start())
    for event in script.train(n_epochs=3):
        if isinstance(event, EpochEnded | PhaseEnded):
            event = replace(event, metrics={"mse": float("nan")})
        state.apply(event)
    html = run_html(state, with_epochs=False)
    assert "<figure>" not in html and "nan" in html


def test_curves_have_the_colours_that_they_had_on_the_panel(script: Any) -> None:
    state = RunState(script.start())
    path, losses = ("train",), ("a", "b")
    state.apply(script(PhaseStarted, path=path, kind="train", n_epochs=2, n_batches=4, losses=losses))
    for epoch in range(2):
        state.apply(script(EpochEnded, path=path, epoch=epoch, metrics={"a": 1, "b": 2, "val_loss": 3}))
    html = opened(run_html(state, with_epochs=False))
    legend = dict(re.findall(r'stroke="(#\w+)"/><text [^>]*>(\w+) ', html))
    assert legend == {COLOURS[0]: "a", COLOURS[2]: "b", COLOURS[1]: "val_loss"}


def test_folds_are_drawn_behind_their_mean(script: Any) -> None:
    paths = [(f"fold_{i}", "train") for i in range(3)]
    plan = tuple(PlanEntry(path=p, kind="train", n_epochs=3, family=("train",)) for p in paths)
    state = RunState(script.start(plan=plan))
    for i, path in enumerate(paths):
        for event in script.train(path=path, n_epochs=3 - i):  # some end early
            state.apply(event)
    html = opened(run_html(state, with_epochs=False))
    text = Reader(html).text
    assert "mean of 3 folds, per epoch" in text
    lasts = [phase.metrics["mse"] for phase in state.phases]
    assert f"mse {format_value(sum(lasts) / 3)}" in text
    faint = re.findall(r'<path[^>]*fill="none"[^>]*opacity="0.4"', html)
    clear = re.findall(r'<path[^>]*fill="none" stroke-width="1.8"', html)
    assert (len(faint), len(clear)) == (6, 2)  # mse and val_loss, of each fold and their mean


def test_a_long_training_keeps_few_lines_and_the_last(script: Any) -> None:
    state = RunState(script.start())
    for event in script.train(n_epochs=1234):
        state.apply(event)
    html = run_html(state, with_epochs=True)
    assert html.count("<tr>") < 120
    assert '<td class="n">1234</td>' in html
    assert "1,234 epochs, one in 13 shown" in html


@pytest.mark.parametrize(("lowest", "is_logarithmic"), [(0.5, False), (0.001, True), (0.0, False)])
def test_only_what_spans_much_is_drawn_on_a_logarithmic_axis(
    script: Any, lowest: float, is_logarithmic: bool
) -> None:
    state = RunState(script.start())
    for event in script.train(n_epochs=3):
        state.apply(event)
    state.phases[0].epochs.append((3, {"mse": lowest}))
    assert ("logarithmic" in Reader(run_html(state, with_epochs=True)).text) is is_logarithmic


def test_the_axis_counts_all_epochs_of_a_long_training(script: Any) -> None:
    """The curve on the screen gets coarser; the numbers under this one are those of epochs all the same."""
    state = RunState(script.start())
    for event in script.train(n_epochs=1001):
        state.apply(event)
    text = Reader(run_html(state, with_epochs=False)).text
    assert "1000" in text
    assert "per epoch" in text


def test_a_run_without_curves_has_none(script: Any) -> None:
    state = RunState(script.start(plan=(PlanEntry(path=("eval",), kind="eval"),)))
    for event in script.evaluate():
        state.apply(event)
    assert "svg" not in Reader(run_html(state, with_epochs=True)).tags


def test_pictures_are_images_that_a_page_need_not_trust(script: Any) -> None:
    """Of inline SVG a sanitizer leaves the texts, run together."""
    html = run_html(ended(script), with_epochs=True)
    assert "<svg" not in html
    assert html.count("<img ") == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0081, "8 ms"), (0.9996, "1.0 s"), (59.96, "0:59"), (125, "2:05"), (3723, "1:02:03")],
)
def test_durations_read_as_in_the_browser(seconds: float, text: str) -> None:
    assert format_s(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (12.3456, "12.35"),
        (123456.7, "123457"),
        (1e-7, "1.000e-07"),
        (0, "0"),
        (0.5, "0.5000"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_values_have_four_significant_digits(value: float, text: str) -> None:
    assert format_value(value) == text
