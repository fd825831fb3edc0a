"""What the command draws: a file's summary, tree and history, and two files side by side.

It knows no command line: facts come in, what rich prints goes out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from modularml.cli.words import apart, course, duration, moment, size, status, styled, table
from modularml.display.figures import counted, format_shape, format_value
from modularml.inspection.facts import DataFacts, FileFacts, NodeFacts, PlanFacts, RunFacts, brief

_LONGEST_NAME = 24  # of a loss or metric, in a terminal that is too narrow for all columns


def summary(facts: FileFacts) -> RenderableType:
    """Draw what a file is and holds."""
    about = Table.grid(padding=(0, 2))
    for name, value in _about(facts).items():
        about.add_row(styled(name, "dim"), styled(value))
    parts: list[RenderableType] = [_title(facts), Padding(about, (0, 0, 0, 2), expand=False)]
    if facts.data:
        parts.append(apart(_data_table(facts.data)))
    if facts.nodes:
        parts.append(apart(_node_table(facts.nodes)))
    if facts.final:
        values = table("final value", ">")
        for key, final in facts.final.items():
            values.add_row(styled(" ".join(key)), format_value(final))
        parts.append(apart(values))
    return Group(*parts, "")


def whole_tree(facts: FileFacts) -> RenderableType:
    """Draw data, graph and plan as a tree; of other files all that they hold."""
    tree = Tree(_title(facts), guide_style="dim")
    if facts.plan is None and not facts.data and not facts.nodes:
        _add_values(tree, facts.tree)
    for data in facts.data:
        branch = tree.add(_named(data.label, "magenta", _samples(data)))
        for name, what in data.columns.items():
            branch.add(_named(name, "", what))
        for name, n in data.splits.items():
            branch.add(_named(f"split {name}", "", f"{n:,} samples"))
        _add_nodes(branch, facts.nodes, data.label)
    if facts.plan is not None:
        _add_plan(tree, facts.plan)
    elif not facts.data:
        for node in facts.nodes:
            tree.add(_node(node))
    return Group(tree, "")


def history(facts: FileFacts) -> RenderableType:
    """Draw the runs: how they ended, how long they took, what came of them."""
    if not facts.runs:
        return Group(_title(facts), Text("  no runs", "dim"), "")
    runs = table(">#", "run", "status", "started", ">took", "final values", "course")
    # In a narrow terminal the dates break first.
    runs.columns[1].min_width = min(max(len(run.label) for run in facts.runs), 12)
    names = (len(curve.name) for run in facts.runs for curve in run.curves)
    runs.columns[5].min_width = min(max(names, default=0), _LONGEST_NAME)
    for i, run in enumerate(facts.runs):
        about = (
            styled(run.label, "bold"),
            status(run.status),
            f"{run.started_at:%Y-%m-%d %H:%M}",
            duration(run.duration_s),
        )
        is_phase = [phase.path for phase in run.phases] == [run.label]
        _add_run(runs, (str(i), *about), run, run.label if is_phase else None)
        for phase in () if is_phase else run.phases:
            name = Text("  ").append_text(styled(phase.path))
            took = Text(duration(phase.duration_s), "dim")
            _add_run(runs, ("", name, status(phase.status), "", took), run, phase.path)
    errors = [
        Padding(styled(f"{i}  {run.error}", "red"), (0, 0, 0, 2))
        for i, run in enumerate(facts.runs)
        if run.error is not None
    ]
    return Group(_title(facts), apart(runs), *([""] if errors else []), *errors, "")


def comparison(a: FileFacts, b: FileFacts) -> tuple[RenderableType, bool]:
    """Draw where two files differ, their final values side by side; say whether they do."""
    left, right = a.settings, b.settings
    settings = [key for key in _union(left, right) if left.get(key) != right.get(key)]
    finals = [(key, a.final.get(key), b.final.get(key)) for key in _union(a.final, b.final)]
    n_differing = sum(not _same(*sides) for _, *sides in finals)
    parts: list[RenderableType] = []
    if settings:
        drawn = table("setting", str(a.path), str(b.path))
        for key in settings:
            name = styled(".".join(key))
            drawn.add_row(name, styled(left.get(key, "–"), "red"), styled(right.get(key, "–"), "green"))
        parts.append(apart(drawn))
    if finals:
        drawn = table("final value", f">{a.path}", f">{b.path}", ">difference")
        for key, *values in finals:
            drawn.add_row(styled(" ".join(key)), *_side_by_side(*values))
        parts.append(apart(drawn))
    verdict = f"  {counted(len(settings), 'setting')} and {n_differing} of {len(finals)} final values differ."
    is_same = not settings and not n_differing
    return Group(*parts, "", Text("  Nothing differs." if is_same else verdict, "bold"), ""), is_same


def _title(facts: FileFacts) -> Text:
    title = Text().append_text(styled(str(facts.path), "bold"))
    title.append(f"  {facts.kind.replace('_', ' ')}", "cyan")
    return title if facts.label is None else title.append_text(styled(f" {facts.label}"))


def _about(facts: FileFacts) -> dict[str, str]:
    about = {
        "file": f"format {facts.format}, {size(facts.n_bytes)}, {counted(facts.n_members, 'member')}, whole",
        "dated": moment(facts.modified_at),
        "made with": ", ".join(f"{package} {release}" for package, release in facts.versions.items()),
    }
    if facts.meta:
        about["notes"] = ", ".join(f"{key}: {brief(value)}" for key, value in facts.meta.items())
    if facts.plan is not None:
        about["plan"] = " → ".join(_phases(facts.plan)) or "empty"
    if facts.plan is not None or facts.runs:
        statuses = Counter(run.status for run in facts.runs)
        about["runs"] = ", ".join(f"{n} {how}" for how, n in statuses.items()) or "none"
    if facts.plan is None and not facts.data and not facts.nodes:
        about["holds"] = brief(facts.tree)
    return about


def _phases(plan: PlanFacts, above: str = "") -> list[str]:
    phases = []
    for entry in plan.entries or ():
        path = f"{above}{entry.label}"
        phases += [path] if entry.entries is None else _phases(entry, f"{path}/")
    return phases


def _data_table(entries: Iterable[DataFacts]) -> Table:
    drawn = table("data", ">samples", "column", "type", "split", ">samples")
    for data in entries:
        columns = [Text("\n").join(map(styled, side)) for side in (data.columns, data.columns.values())]
        splits = Text("\n").join(map(styled, data.splits)), "\n".join(f"{n:,}" for n in data.splits.values())
        n = "not in the file" if data.n_samples is None else f"{data.n_samples:,}"
        drawn.add_row(styled(data.label), n, *columns, *splits)
    return drawn


def _samples(data: DataFacts) -> str:
    return "its samples are not in the file" if data.n_samples is None else f"{data.n_samples:,} samples"


def _node_table(nodes: Iterable[NodeFacts]) -> Table:
    drawn = table("node", "model", "fed by", "shapes", ">parameters")
    for node in nodes:
        label = styled(node.label).append(" (frozen)" if node.is_frozen else "", "cyan")
        n_parameters = "" if node.n_parameters is None else f"{node.n_parameters:,}"
        drawn.add_row(
            label,
            styled(node.model or "–"),
            styled(", ".join(node.upstreams or ()) or "–"),
            _shapes(node),
            n_parameters,
        )
    return drawn


def _named(name: str, style: str, what: str) -> Text:
    return Text().append_text(styled(name, style)).append_text(styled(f"  {what}", "dim"))


def _add_nodes(tree: Tree, nodes: Sequence[NodeFacts], upstream: str) -> None:
    """Add what `upstream` feeds, and what that feeds."""
    for node in nodes:
        if upstream in (node.upstreams or ()):
            _add_nodes(tree.add(_node(node)), nodes, node.label)


def _node(node: NodeFacts) -> Text:
    n_parameters = None if node.n_parameters is None else f"{node.n_parameters:,} parameters"
    told = (node.model, _shapes(node), n_parameters, "frozen" if node.is_frozen else None)
    return _named(node.label, "blue", ", ".join(filter(None, told)))


def _shapes(node: NodeFacts) -> str:
    inputs = " + ".join(str(shape) for shape in node.input_shapes if shape is not None)
    return " → ".join(filter(None, (inputs, format_shape(node.output_shape))))


def _add_plan(tree: Tree, plan: PlanFacts) -> None:
    branch = tree.add(_named(plan.label, "yellow", plan.kind))
    for line in plan.details:
        branch.add(styled(line))
    for entry in plan.entries or ():
        _add_plan(branch, entry)


def _add_values(tree: Tree, value: Any) -> None:
    if isinstance(value, Mapping):
        items: Iterable[tuple[object, Any]] = value.items()
    else:
        items = enumerate(value if isinstance(value, list | tuple) else [value])
    for key, item in items:
        if isinstance(item, dict | list | tuple) and item:
            _add_values(tree.add(styled(str(key))), item)
        else:
            tree.add(_named(str(key), "", brief(item)))


def _add_run(runs: Table, about: Sequence[RenderableType], run: RunFacts, phase: str | None) -> None:
    """Add a row with the last value of a phase's first curve and the curve in small; the others follow."""
    curves = [curve for curve in run.curves if curve.phase == phase and curve.points]
    cells = []
    for curve in curves:
        values = [value for _, _, value in curve.points]
        cells.append((styled(f"{curve.name} {format_value(values[-1])}"), Text(course(values), "cyan")))
    runs.add_row(*about, *(cells[0] if cells else ()))
    for more in cells[1:]:
        runs.add_row(*[""] * len(about), *more)


def _union(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> list[Any]:
    return list(dict.fromkeys([*a, *b]))


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _side_by_side(a: float | None, b: float | None) -> list[Text]:
    sides = ["–" if value is None else format_value(value) for value in (a, b)]
    is_told = a is not None and b is not None and not _same(a, b)
    difference = f"{b - a:+.4g}" if is_told and a is not None and b is not None else ""
    return [Text(text, "dim" if _same(a, b) else "") for text in (*sides, difference)]
