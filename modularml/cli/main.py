"""The command line: what was asked for, where its answer goes, and the exit code.

It knows nothing of how a file is read or drawn.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from modularml.base.errors import FileFormatError, StateError
from modularml.cli.drawing import comparison, history, summary, whole_tree
from modularml.cli.words import apart, shown, size, styled, table
from modularml.display.mermaid import mermaid
from modularml.display.runs import RunSource
from modularml.inspection.comparing import Comparison
from modularml.inspection.facts import FileFacts
from modularml.inspection.reading import inspect
from modularml.inspection.run_views import FileRuns
from modularml.inspection.schema import config_schema
from modularml.io.archive import faults_in

FINE, DAMAGED_OR_DIFFERENT, IMPOSSIBLE = 0, 1, 2

_NARROWEST = 120  # of what goes to a file or a pipe, in columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: What stands behind its name; None takes them from the command line.

    Returns:
        0 if all is well, 1 if a file is damaged or two differ, 2 if it cannot be done as asked.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a label may have no form in the encoding
    parser, arguments = _parser(), sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser.print_help(sys.stderr)
        return IMPOSSIBLE
    given = parser.parse_args(arguments)
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _NARROWEST)
    try:
        code: int = given.run(given, console)
    except RecursionError:
        return _complain("a file is nested too deeply to be drawn.", DAMAGED_OR_DIFFERENT)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modularml",
        description="Look into .mml files, and check them. Nothing in them is loaded or run.",
        epilog="Exit codes: 0 all is well, 1 a file is damaged or two differ, 2 it cannot be done as asked.",
    )
    parser.add_argument("--version", action="version", version=f"modularml {version('modularml-jupyter')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    several = {"show": summary, "tree": whole_tree, "history": history}
    for name, draw in several.items():
        command = _command(commands, name, _drawn(draw))
        command.add_argument("files", metavar="FILE", nargs="+", type=Path)
    compare = _command(commands, "compare", _compare)
    compare.add_argument("files", metavar="FILE", nargs="+", type=Path)
    html = "write a browser of the runs in any number of files to this file; without it there are two files"
    compare.add_argument("--html", metavar="OUT", type=Path, help=html)
    compare.set_defaults(refuse=compare.error)
    _command(commands, "verify", _verify).add_argument("files", metavar="FILE", nargs="+", type=Path)
    export = _command(commands, "export", _export)
    export.add_argument("file", metavar="FILE", type=Path, nargs="?")
    form = "json: all but the values of arrays; csv: the curves of all runs; mermaid: the graph"
    export.add_argument("--format", choices=_FORMS, help=form)
    schema = "instead of a file, the JSON Schema of the configurations that to_yaml writes"
    export.add_argument("--schema", action="store_true", help=schema)
    export.add_argument("-o", "--output", metavar="OUT", type=Path, help="where to; else standard output")
    export.set_defaults(refuse=export.error)
    return parser


_DOES = {
    "show": "Tell what a file is and holds.",
    "tree": "Draw the data, the graph and the plan in a file as a tree.",
    "history": "List the runs in a file: how they ended, how long they took, what came of them.",
    "compare": "Tell where settings and data of two files differ, with their final values side by side; "
    "or write a browser of the runs in several.",
    "verify": "Check files against every digest in them, and tell all that is wrong.",
    "export": "Write what is in a file in another form.",
}


def _command(commands: Any, name: str, run: Callable[[Any, Console], int]) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=_DOES[name], description=_DOES[name])
    command.set_defaults(run=run)
    return command


def _drawn(draw: Callable[[FileFacts], RenderableType]) -> Callable[[Any, Console], int]:
    """Return the command that draws each of its files."""

    def run(given: Any, console: Console) -> int:
        code = FINE
        for path in given.files:
            facts, fault = _looked_into(path)
            code = max(code, fault)
            if facts is not None:
                console.print(draw(facts))
        return code

    return run


def _compare(given: Any, console: Console) -> int:
    if given.html is not None:
        return _browser(given.files, given.html)
    if len(given.files) != 2:
        given.refuse(f"two files are compared, got {len(given.files)}; with --html there can be more")
    (a, fault_of_a), (b, fault_of_b) = map(_looked_into, given.files)
    if a is None or b is None:
        return max(fault_of_a, fault_of_b)
    drawn, is_same = comparison(a, b)
    console.print(drawn)
    return FINE if is_same else DAMAGED_OR_DIFFERENT


def _browser(files: Sequence[Path], out: Path) -> int:
    """Write a browser of the runs in some files, if all of them are whole."""
    sources: list[RunSource] = []
    code = FINE
    for path in files:
        facts, fault = _looked_into(path)
        code = max(code, fault)
        if facts is None:
            continue
        try:
            sources.append(FileRuns(facts))
        except FileFormatError as error:
            code = max(code, _complain(str(error), DAMAGED_OR_DIFFERENT))
    if code != FINE:
        return code
    if out.exists() and any(out.samefile(path) for path in files):
        return _complain(f"{out} is one of the files that are to be compared.", IMPOSSIBLE)
    try:
        Comparison(sources).to_html(out, overwrite=True)
    except OSError as error:
        return _complain(str(error), IMPOSSIBLE)
    return FINE


def _verify(given: Any, console: Console) -> int:
    code, verdicts = FINE, table("file", "kind", ">members", ">size", "")
    for path in given.files:
        facts, fault = _looked_into(path, all_faults=True)
        code = max(code, fault)
        if facts is None:
            verdict = "✗ damaged" if fault == DAMAGED_OR_DIFFERENT else "✗ unreadable"
            verdicts.add_row(styled(str(path)), "–", "–", "–", Text(verdict, "bold red"))
        else:
            about = facts.kind.replace("_", " "), f"{facts.n_members:,}", size(facts.n_bytes)
            verdicts.add_row(styled(str(path)), *about, Text("✓ whole", "green"))
    console.print(apart(verdicts), "")
    return code


def _export(given: Any, console: Console) -> int:
    if given.schema:
        if given.file is not None or given.format is not None:
            given.refuse("--schema stands alone, without a file and a form")
        return _write(json.dumps(config_schema(), indent=2) + "\n", given.output)
    if given.file is None or given.format is None:
        given.refuse("a file and --format are required, or --schema")
    facts, fault = _looked_into(given.file)
    if facts is None:
        return fault
    try:
        text = _FORMS[given.format](facts)
        if given.output is not None and given.output.exists() and given.output.samefile(given.file):
            return _complain(f"{given.output} is the file that is to be exported.", IMPOSSIBLE)
    except (OSError, StateError) as error:
        return _complain(str(error), IMPOSSIBLE)
    return _write(text, given.output)


def _write(text: str, output: Path | None) -> int:
    try:
        if output is None:
            sys.stdout.write(text)
        else:
            output.write_text(text, "utf-8", newline="")
    except OSError as error:
        return _complain(str(error), IMPOSSIBLE)
    return FINE


def _looked_into(path: Path, *, all_faults: bool = False) -> tuple[FileFacts | None, int]:
    """Return what a file holds; where that cannot be told, say why and return the exit code."""
    try:
        return inspect(path), FINE
    except FileFormatError as error:
        for text in (all_faults and faults_in(path)) or [str(error)]:
            _complain(text, DAMAGED_OR_DIFFERENT)
        return None, DAMAGED_OR_DIFFERENT
    except OSError as error:
        told = error.strerror or str(error)
        return None, _complain(told if str(path) in told else f"{path}: {told}.", IMPOSSIBLE)


def _complain(text: str, code: int) -> int:
    print(f"modularml: {shown(text)}", file=sys.stderr)
    return code


def _as_json(facts: FileFacts) -> str:
    return json.dumps(facts.to_json(), indent=2, allow_nan=False) + "\n"


def _as_csv(facts: FileFacts) -> str:
    if not facts.runs:
        raise StateError(f"{facts.path}: this {facts.kind} holds no runs, so there are no curves.")
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(["run", "label", "status", "phase", "curve", "epoch", "batch", "value"])
    for i, run in enumerate(facts.runs):
        for curve in run.curves:
            names = map(shown, (run.label, run.status, curve.phase, curve.name))
            same = [i, *names]
            rows.writerows((*same, *point) for point in curve.points)
    return written.getvalue()


def _as_mermaid(facts: FileFacts) -> str:
    if facts.picture is None:
        raise StateError(f"{facts.path}: this {facts.kind} holds no graph with its data.")
    lines = mermaid(facts.picture).split("\n")
    return "".join("\t".join(map(shown, line.split("\t"))) + "\n" for line in lines)


_FORMS = {"json": _as_json, "csv": _as_csv, "mermaid": _as_mermaid}


if __name__ == "__main__":
    sys.exit(main())
