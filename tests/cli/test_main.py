"""The command, run as from a shell: what it prints, where, and its exit codes."""

import csv
import importlib
import io
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from modularml.cli.drawing import history
from modularml.cli.main import main
from modularml.cli.words import course, duration, shown, size
from modularml.inspection.reading import inspect
from modularml.io import codec
from modularml.io.names import SUFFIXES

NET = "[red]net[/] <&>"
COMMANDS = ["show", "tree", "history", "verify"]
HOSTILE = "\x1b]0;owned\x07\r\n\u202e[red]x[/red]\udc80"


@pytest.fixture
def modularml(capsys, monkeypatch):
    """Give a function that runs the command and returns its exit code, output and complaints."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def damaged(written, tmp_path):
    path = tmp_path / "damaged.exp.mml"
    data = bytearray((written / "first.exp.mml").read_bytes())
    data[data.index(b'"config"')] ^= 1  # within a member, whatever else the file holds
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_kind_of_file_can_be_drawn(modularml, written, command):
    files = sorted(written.iterdir())
    code, out, err = modularml(command, *files)
    assert (code, err) == (0, "")
    for file in files:
        assert file.name in out


def test_without_a_command_it_says_what_there_is(modularml):
    code, out, err = modularml()
    assert (code, out) == (2, "") and "history" in err and "Exit codes" in err


def test_in_80_columns_no_name_of_a_loss_is_broken(written):
    console = Console(width=80, file=io.StringIO())
    console.print(history(inspect(written / "first.exp.mml")))
    names = {curve.name for run in inspect(written / "first.exp.mml").runs for curve in run.curves}
    assert names and all(f"{name} " in console.file.getvalue() for name in names)


def test_show_tells_kind_versions_plan_and_runs(modularml, written):
    _, out, _ = modularml("show", written / "first.exp.mml")
    for part in ["experiment first", "format 1", f"numpy {np.__version__}", "fold/train → eval", NET]:
        assert part in out
    assert "1 completed, 1 failed" in out
    assert "SequentialMLP" in out and "(1, 3) → (1, 2)" in out


def test_tree_hangs_nodes_below_what_feeds_them(modularml, written):
    _, out, _ = modularml("tree", written / "first.exp.mml")
    lines = {
        line.strip("│├└─ ").split("  ")[0]: line.index("── ") for line in out.splitlines() if "── " in line
    }
    assert lines["data"] < lines[NET] < lines["head"]
    assert lines["fold"] < lines["train"]


def test_history_tells_status_final_values_and_errors(modularml, written):
    _, out, _ = modularml("history", written / "first.exp.mml")
    row = next(line for line in out.splitlines() if "fold/train" in line)
    assert "● completed" in row and NET in row and "▁" in row
    assert "● failed" in out
    assert "CallbackError: " in out and r"\n\x1b[2J\u202esecond \udc80" in out


def test_each_curve_of_a_phase_has_a_row(modularml, tmp_path):
    tree = hostile_tree("x")
    recording = tree["state"]["history"][0]["results"]["recording"]
    recording["metrics"] = {"val": [[0, None, 3.0], [1, None, 2.0]]}
    _, out, _ = modularml("history", codec.save(tmp_path / "x", "checkpoint", tree))
    loss, metric = (next(line for line in out.splitlines() if name in line) for name in ("x 1", "val 2"))
    assert loss.index("x 1") == metric.index("val 2") and metric.rstrip().endswith("█▁")


def test_files_without_runs_have_no_history(modularml, written):
    assert "no runs" in modularml("history", written / "data.fs.mml")[1]


def test_compare_tells_what_differs_and_nothing_else(modularml, written):
    code, out, _ = modularml("compare", written / "first.exp.mml", written / "second.exp.mml")
    assert code == 1
    (row,) = [line for line in out.splitlines() if "opt_kwargs.lr" in line]
    assert row.split()[1:] == ["0.01", "0.02"]
    assert "hidden_dim" not in out
    assert "3 settings and 3 of 3 final values differ." in out


def test_a_file_does_not_differ_from_itself(modularml, written):
    path = written / "first.exp.mml"
    code, out, err = modularml("compare", path, path)
    assert (code, err) == (0, "")
    assert "Nothing differs." in out


def test_verify_tells_each_file_and_the_worst_in_its_code(modularml, written, damaged):
    code, out, err = modularml("verify", written / "data.fs.mml", damaged)
    assert code == 1
    assert "✓ whole" in out and "✗ damaged" in out
    assert err.count("\n") == 1 and "sha256" in err
    assert modularml("verify", written / "none.exp.mml", damaged)[0] == 2


def test_verify_tells_all_that_is_wrong_with_a_file(modularml, written, tmp_path):
    content = bytearray((written / "data.fs.mml").read_bytes())
    with zipfile.ZipFile(written / "data.fs.mml") as archive:
        members = [info for info in archive.infolist() if info.filename.startswith("arrays/")]
    for info in members:
        content[info.header_offset + 30 + len(info.filename) + len(info.extra) + info.file_size - 1] ^= 1
    path = tmp_path / "many.fs.mml"
    path.write_bytes(content)
    code, _, err = modularml("verify", path)
    assert code == 1 and len(members) > 1
    assert err.count("was changed: its sha256 differs") == err.count("\n") == len(members)


@pytest.mark.parametrize("command", [*COMMANDS, "export --format json", f"compare --html {os.devnull}"])
def test_a_damaged_file_is_one_line_on_stderr_and_code_1(modularml, damaged, command):
    code, _, err = modularml(*command.split(), damaged)
    assert code == 1
    assert err.startswith("modularml: ") and err.count("\n") == 1 and "damaged.exp.mml" in err


@pytest.mark.parametrize("command", [*COMMANDS, "export --format json", f"compare --html {os.devnull}"])
def test_a_file_that_is_not_there_is_one_line_on_stderr_and_code_2(modularml, tmp_path, command):
    code, _, err = modularml(*command.split(), tmp_path / "none.exp.mml")
    assert code == 2
    assert err.count("\n") == 1 and "No such file" in err


def test_files_after_a_damaged_one_are_drawn(modularml, written, damaged):
    code, out, _ = modularml("show", damaged, written / "data.fs.mml")
    assert code == 1
    assert "data.fs.mml" in out


def test_compare_needs_two_whole_files(modularml, written, damaged):
    assert modularml("compare", written / "first.exp.mml", damaged)[0] == 1
    assert modularml("compare", damaged, written / "none.exp.mml")[0] == 2


def test_compare_writes_a_browser_of_the_runs_in_several_files(modularml, written, tmp_path):
    files = [written / "first.exp.mml", written / "second.exp.mml", written / "kept.ckpt.mml"]
    assert modularml("compare", "--html", tmp_path / "out.html", *files) == (0, "", "")
    page = (tmp_path / "out.html").read_text("utf-8")
    assert '"sources":["first.exp.mml","second.exp.mml","kept.ckpt.mml"]' in page


def test_compare_writes_no_browser_over_a_file_or_of_a_damaged_one(modularml, written, damaged, tmp_path):
    first = written / "first.exp.mml"
    before = first.read_bytes()
    assert modularml("compare", "--html", first, first)[0] == 2
    assert first.read_bytes() == before
    assert modularml("compare", "--html", tmp_path / "out.html", first, damaged)[0] == 1
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize(
    "line", ["shw x", "show", "verify", "compare x", "compare x y z", "export x", "export x --format xml"]
)
def test_wrong_usage_is_code_2(capsys, line):
    with pytest.raises(SystemExit) as exit:
        main(line.split())
    assert exit.value.code == 2
    assert "usage: modularml" in capsys.readouterr().err


def test_the_curves_as_csv(modularml, written, tmp_path):
    code, out, _ = modularml("export", written / "first.exp.mml", "--format", "csv", "-o", tmp_path / "c.csv")
    assert (code, out) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert [(row["run"], row["phase"], row["epoch"]) for row in rows] == [
        ("0", "fold/train", "0"),
        ("0", "fold/train", "1"),
        ("0", "fold/train", "2"),
        ("0", "eval", "0"),
        ("1", "bad", "0"),
    ]
    assert {row["curve"] for row in rows} == {NET}
    assert all(float(row["value"]) > 0 for row in rows)


def test_the_tree_as_json(modularml, written):
    told = json.loads(modularml("export", written / "first.exp.mml", "--format", "json")[1])
    assert told["kind"] == "experiment"
    assert told["tree"]["config"]["label"] == "first"
    column = told["tree"]["featuresets"][0]["state"]["table"]["columns"]["features.x.raw"]
    assert column == {"dtype": "float64", "shape": [24, 3]}


def test_the_graph_as_mermaid(modularml, written):
    out = modularml("export", written / "first.exp.mml", "--format", "mermaid")[1]
    assert out.startswith("flowchart LR\n") and out.endswith("\n")


@pytest.mark.parametrize("form", ["csv", "mermaid"])
def test_what_a_file_does_not_hold_cannot_be_exported(modularml, written, form):
    code, out, err = modularml("export", written / "data.fs.mml", "--format", form)
    assert (code, out) == (2, "")
    assert "holds no" in err


def test_a_file_is_not_exported_over_itself(modularml, written):
    path = written / "data.fs.mml"
    before = path.read_bytes()
    assert modularml("export", path, "--format", "json", "-o", path)[0] == 2
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_told(modularml, written, tmp_path):
    target = tmp_path / "none" / "x.json"
    code, _, err = modularml("export", written / "data.fs.mml", "--format", "json", "-o", target)
    assert code == 2 and err.count("\n") == 1


def hostile_tree(name):
    """Return a tree that any kind of file can hold, in which every text is `name`."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    what = {"status": name, "started_at": at, "ended_at": at}
    recording = {"loss_nodes": {name: name}, "losses": np.ones((1, 1)), "n_batches": [1], "metrics": {}}
    recording |= {"n_samples": np.ones(1, int)}
    results = {"kind": "eval", "label": name, "recording": recording}
    run = what | {"label": name, "id": name, "error": name, "results": results}
    run |= {"phases": [what | {"path": [name, name], "kind": "eval"}]}
    columns = {"table": {"columns": {name: np.zeros(2)}}, "splits": {"splits": {name: {"rows": np.zeros(1)}}}}
    shapes = {"input_shape": None, "output_shape": (1,), "weights": None}
    node = f"{name}2"
    upstream = {"node_label": name}
    plan = {"$type": name, "label": name, "phases": [{"$type": name, "label": name, name: name}]}
    return {
        "config": {"label": name, "plan": plan},
        "name": name,
        "run": run,
        "meta": {name: name},
        "state": {
            "graph": {"nodes": {node: {"model": shapes, "frozen_by": None}}},
            "history": [run],
            **columns,
        },
        "featuresets": [{"config": {"label": name}, "state": columns}],
        "nodes": [{"label": node, "model": {"$type": name, name: name}, "upstream_ref": upstream}],
        "spare_nodes": {},
        "graph": {"label": name, "nodes": [node], "optimizer": None},
    }


@pytest.mark.parametrize("kind", SUFFIXES)
def test_hostile_names_never_reach_the_terminal(modularml, tmp_path, kind):
    tree = hostile_tree(HOSTILE)
    if kind == "model_graph":
        read = {HOSTILE: {HOSTILE: {"dtype": HOSTILE, "shape": [2]}}}
        tree |= {"state": tree["state"]["graph"], "featuresets": read}
    path = codec.save(tmp_path / "x", kind, tree)
    forms = ["json"]
    forms += ["csv"] if kind in ("experiment", "checkpoint") else []
    forms += ["mermaid"] if kind in ("experiment", "model_graph") else []
    lines = [[command, path] for command in COMMANDS] + [["compare", path, path]]
    for line in [*lines, *(["export", path, "--format", form] for form in forms)]:
        code, out, err = modularml(*line)
        assert (code, err) == (0, ""), line
        assert not {"\x1b", "\x07", "\r", "\u202e", "\udc80"} & set(out), line
    assert "[red]x[/red]" in modularml("tree", path)[1]


def test_a_tree_that_is_too_deep_is_told(modularml, tmp_path):
    text = "[" * 300 + "]" * 300
    path = codec.save(tmp_path / "deep", "model", json.loads(text))
    for command in ("show", "tree"):
        code, _, err = modularml(command, path)
        assert (code, err.count("\n")) in [(0, 0), (1, 1)]


def test_a_terminal_without_unicode_gets_what_it_can_show(written):
    done = run_alone("history", written / "first.exp.mml", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.isascii() and "completed" in done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "export --format json", f"compare --html {os.devnull}"])
def test_neither_torch_nor_scikit_learn_is_loaded(written, command):
    program = (
        "import sys; from modularml.cli.main import main; main(sys.argv[1:])\n"
        "print(*{n.partition('.')[0] for n in sys.modules}, file=sys.stderr)"
    )
    command_line = [sys.executable, "-c", program, *command.split(), written / "first.exp.mml"]
    done = subprocess.run(command_line, check=True, capture_output=True, text=True)
    loaded = done.stderr.split()
    assert {"torch", "sklearn", "scipy", "skops"}.isdisjoint(loaded)
    assert "rich" in loaded


def run_alone(*arguments, **environment):
    command = [sys.executable, "-m", "modularml.cli.main", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_the_exit_code_is_that_of_the_process(damaged):
    done = run_alone("verify", damaged)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_installed_command_is_this_one():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["modularml"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


def test_the_course_of_values_is_drawn_from_low_to_high():
    assert course([0.0, 1.0]) == "▁█"
    assert course([1.0, float("nan"), 0.0]) == "█ ▁"
    assert course([2.0, 2.0]) == "▁▁"
    assert course([-1e308, 1e308]) == "▁█"
    assert len(course(list(range(1000)))) == 16
    assert course([1.0]) == course([]) == ""


def test_words():
    assert [duration(s) for s in (0.0123, 3.44, 3723)] == ["12 ms", "3.4 s", "1:02:03"]
    assert [size(n) for n in (12, 3456, 7_890_000, 10**12)] == ["12 bytes", "3.5 kB", "7.9 MB", "1000.0 GB"]
    assert shown("é\x1b\n\u202e") == r"é\x1b\n\u202e"


def test_the_suffix_may_be_left_out_and_what_is_there_is_named(modularml, written):
    code, out, _ = modularml("show", written / "data")
    assert code == 0 and "data.fs.mml" in out
    code, _, err = modularml("show", written / "dtaa")
    assert code == 2 and "Did you mean 'data.fs.mml'?" in err


def test_a_yaml_file_is_told_from_a_damaged_one(modularml, tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1")
    code, _, err = modularml("show", tmp_path / "x.yaml")
    assert code == 1 and "YAML is read by from_yaml" in err


def test_the_package_is_the_command():
    told = subprocess.run(
        [sys.executable, "-m", "modularml", "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[-1] == version("modularml-jupyter")
