"""The banners are those of the introductory notebook, to the column."""

import contextlib
import io

from hypothesis import given
from hypothesis import strategies as st

from modularml.display.notice import WIDTH, notice

BANNERS = """\
─────────────────────────────── INFO - Node ID Collision ───────────────────────────────
 Loaded FeatureSet is identical to 'SensorData' in the existing ExperimentContext.
 Returning 'FeatureSet(label='SensorData', n_samples=500)'.
────────────────────────────────────────────────────────────────────────────────────────
─────────────────────────────── INFO - Node ID Collision ───────────────────────────────
 The loaded ModelNode has an overlapping ID with existing ModelNode 'MLP'. 'MLP' will
 be overwritten in the active ExperimentContext.
────────────────────────────────────────────────────────────────────────────────────────
───────────────────────────── INFO - ModelGraph Collision ──────────────────────────────
 Loaded ModelGraph is identical to 'SimpleGraph' in the existing ExperimentContext.
 Returning 'SimpleGraph'.
────────────────────────────────────────────────────────────────────────────────────────
 The serialized experiment contains 1 checkpoint(s), but no `checkpoint_dir` was given.
"""


def test_banners_of_the_notebook(capsys):
    notice(
        "Node ID Collision",
        "Loaded FeatureSet is identical to 'SensorData' in the existing ExperimentContext. "
        "Returning 'FeatureSet(label='SensorData', n_samples=500)'.",
    )
    notice(
        "Node ID Collision",
        "The loaded ModelNode has an overlapping ID with existing ModelNode 'MLP'. "
        "'MLP' will be overwritten in the active ExperimentContext.",
    )
    notice(
        "ModelGraph Collision",
        "Loaded ModelGraph is identical to 'SimpleGraph' in the existing ExperimentContext. "
        "Returning 'SimpleGraph'.",
    )
    notice(None, "The serialized experiment contains 1 checkpoint(s), but no `checkpoint_dir` was given.")
    shown = capsys.readouterr()
    assert shown.err == BANNERS
    assert shown.out == ""


def test_level_paragraphs_and_long_names(capsys):
    path = "/data/" + "x" * 100 + "/a-b.mml"
    notice("Old file", f"First.\nWritten to {path} just now.", level="WARNING")
    rule, *lines, end = capsys.readouterr().err.splitlines()
    assert " WARNING - Old file " in rule
    assert len(rule) == len(end) == WIDTH
    assert lines == [" First.", " Written to", f" {path}", " just now."]


@given(st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=80)))
def test_every_word_comes_once_and_in_order_within_the_margins(words):
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        notice("t", " ".join(words))
    lines = stream.getvalue().splitlines()[1:-1]
    assert " ".join(lines).split() == words
    assert all(line.startswith(" ") and len(line) < WIDTH for line in lines)
