"""Which results still come from what is there now, and in words why the others do not.

It knows trees of fingerprints and records of runs; it asks no phase what it consumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modularml.base.trees import Difference, Path, differences, digest, leaves
from modularml.core.experiment.history import ExperimentRun, PhaseExecution
from modularml.display.card import Html, Shown, card, table

Tree = Mapping[str, Any]

OWN = ("data", "graph", "phase")
"""The parts of a fingerprint that are the phase's own."""
PARTS = "parts"
"""The part of the fingerprint of a group as a whole that holds those of its entries, by name."""
FAULT = "fault"
"""What stands in the place of a fingerprint where an entry could not run: why."""
MAX_REASONS = 4
NOTHING = "no phases in the execution plan"
UP_TO_DATE, STALE, NOT_RUN, UNFINISHED = "up to date", "stale", "not run", "unfinished"


@dataclass(frozen=True, kw_only=True)
class PhaseStatus:
    """What the results of one phase, or of one cross-validation, are worth.

    Attributes:
        phase: The phase or cross-validation: its label, after those of the groups that it is in.
        state: ``"up to date" | "stale" | "not run" | "unfinished"``.
        run: The index in the history of the last run of it, or None.
        reasons: Why they are stale, in words.
        outdated: What it uses that was defined anew since, in words: a run would not use the new version.
    """

    phase: str
    state: str
    run: int | None = None
    reasons: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join([self._results(), *self.outdated])

    def _results(self) -> str:
        if self.run is None:
            return f"{self.phase!r} has not run yet"
        results = f"results of {self.phase!r} (run {self.run}) are"
        if self.state != STALE:
            return f"{results} {self.state}"
        more = len(self.reasons) - MAX_REASONS
        shown = [*self.reasons[:MAX_REASONS], *([f"and {more} more"] if more > 0 else [])]
        return f"{results} stale: {'; '.join(shown)}"


class Status(Shown, tuple[PhaseStatus, ...]):
    """What the results of the phases of a plan are worth, in the order of the plan."""

    def __repr__(self) -> str:
        lines = [entry._results() for entry in self] or [NOTHING]
        return "\n".join([*lines, *self.outdated])

    @property
    def stale(self) -> list[str]:
        """The phases that are to run: stale, unfinished, or not run yet."""
        return [entry.phase for entry in self if entry.state != UP_TO_DATE]

    @property
    def outdated(self) -> list[str]:
        """What the phases use that was defined anew since, in words."""
        return list(dict.fromkeys(words for entry in self for words in entry.outdated))

    def _card(self) -> Html:
        if not self:
            return card("Status", None, note=NOTHING)
        rows = [
            (e.phase, "" if e.run is None else e.run, e.state, "; ".join((*e.reasons, *e.outdated)))
            for e in self
        ]
        return card("Status", None, table(["phase", ">run", "results", "~why"], rows))


def name_of(path: Sequence[str], experiment: str) -> str:
    """Return what a phase is called in records: its path without the experiment's own label."""
    return "/".join(path[1:] if len(path) > 1 and path[0] == experiment else path)


def upstream(history: Sequence[ExperimentRun]) -> dict[str, str]:
    """Return the phases that made the present weights, each with a digest of what it consumed.

    The last record holds what was before it, so a long history costs no more than a short one.
    """
    for run in reversed(history):
        for execution in reversed(run.phases):
            name = _recorded(run, execution)
            if name is None or execution.status == "running" or run.fingerprint[name].get("apart"):
                continue
            tree = run.fingerprint[name]
            own = {} if execution.kind == "eval" else {name: own_digest(tree)}
            return {**tree["upstream"], **own}
        if run.metadata.get("fresh"):
            return {}
    return {}


def own_digest(tree: Tree) -> str:
    """Return a digest of what a phase itself consumed, its upstream phases aside."""
    own = leaves({key: tree.get(key) for key in OWN})
    return digest(repr(sorted(own.items())).encode())


def status(
    experiment: str, present: Mapping[str, tuple[str, Tree]], history: Sequence[ExperimentRun]
) -> Status:
    """Compare what phases consumed when they ran last with what they would consume now.

    Args:
        experiment: The label of the experiment.
        present: Name of each phase, in the order of the plan -> its kind and its fingerprint now.
        history: The runs so far.
    """
    last = _last_runs(experiment, present, history)
    changed: dict[str, list[str]] = {}
    found = []
    for name, (kind, tree) in present.items():
        if name not in last:
            found.append(PhaseStatus(phase=name, state=NOT_RUN))
            continue
        i, recorded, whole = last[name]
        if FAULT in tree:
            why = (f"it cannot run now: {tree[FAULT]}",)
            found.append(PhaseStatus(phase=name, state=STALE, run=i, reasons=why))
            continue
        changed[name] = in_words(recorded, tree, name)
        reasons = [f"{words} after it ran" for words in changed[name]]
        above = recorded.get("upstream", {})
        for before in above:
            known = resolve(before, present)
            if known is not None and known != name:
                reasons += [f"{words} after it ran" for words in changed.get(known, ())]
        reasons += _trained_since(name, kind, above, i, history)
        state = STALE if reasons else (UP_TO_DATE if whole else UNFINISHED)
        found.append(PhaseStatus(phase=name, state=state, run=i, reasons=tuple(dict.fromkeys(reasons))))
    return Status(found)


def _last_runs(
    experiment: str, present: Mapping[str, Any], history: Sequence[ExperimentRun]
) -> dict[str, tuple[int, Tree, bool]]:
    """Return of each entry the last run of it, what that consumed, and whether it was done to the end."""
    last: dict[str, tuple[int, Tree, bool]] = {}
    for i, run in enumerate(history):
        for recorded, tree in run.fingerprint.items():
            if PARTS in tree:
                # Where it is asked for alone, it has no groups before it, as in the plan it may have.
                name = resolve(recorded, present) or next(
                    (n for n in present if recorded.endswith(f"/{n}")), None
                )
                last |= {} if name is None else {name: (i, tree, tree["whole"])}
        for execution in run.phases:
            name = resolve(name_of(execution.path, experiment), present)
            known = _recorded(run, execution)
            if name is not None and known is not None:
                last[name] = i, run.fingerprint[known], execution.status == "completed"
    return last


def resolve(name: str, present: Mapping[str, Any]) -> str | None:
    """Return the phase of the plan that was recorded as `name`; alone, a phase has no groups before it."""
    if name in present:
        return name
    ends = [known for known in present if known.endswith(f"/{name}")]
    return ends[0] if len(ends) == 1 else None


def _recorded(run: ExperimentRun, execution: PhaseExecution) -> str | None:
    """Return the name under which a run keeps the fingerprint of an execution, or None."""
    names = ("/".join(execution.path), "/".join(execution.path[1:]))
    return next((name for name in names if name in run.fingerprint), None)


def _trained_since(
    name: str, kind: str, before: Mapping[str, str], last: int, history: Sequence[ExperimentRun]
) -> Iterator[str]:
    """Say which later runs changed the weights that the results come from.

    To train on is no reason: only what evaluates, or what was trained on top of what changed.
    """
    for i, run in enumerate(history[last + 1 :], start=last + 1):
        for execution in run.phases:
            other = _recorded(run, execution)
            if other is None or execution.kind == "eval" or run.fingerprint[other].get("apart"):
                continue
            if other == name or other.endswith(f"/{name}"):
                continue
            if kind == "eval" or other in before:
                yield f"{other!r} changed the weights in run {i}"


def in_words(before: Tree, after: Tree, phase: str) -> list[str]:
    """Return in words where two fingerprints of a phase differ, down to the attribute."""
    own = [{key: tree.get(key) for key in OWN} for tree in (before, after)]
    groups: dict[Path, list[Difference]] = {}
    for difference in differences(*own):
        groups.setdefault(_thing(difference.path), []).append(difference)
    told = [words for thing, found in groups.items() for words in _say(thing, found, phase)]
    old, new = before.get(PARTS, {}), after.get(PARTS, {})
    for part in dict.fromkeys([*old, *new]):
        if part in old and part in new:
            told += in_words(old[part], new[part], part)
        else:
            told.append(f"{part!r} of {phase!r} was {'added' if part in new else 'removed'}")
    return list(dict.fromkeys(told))


def _thing(path: Path) -> Path:
    """The part of a path that names the thing that changed; the rest is its attribute."""
    match path:
        case ("data", label, *_):
            return ("data", label)
        case ("graph", "nodes", label, *_):
            return ("graph", "nodes", label)
        case ("phase", "bindings", node, what, *_):
            return ("phase", "bindings", node, what)
        case ("phase", kind, label, _, *_):
            return ("phase", kind, label)
        case ("phase", *_):
            return ("phase",)
        case _:
            return path[:2]


def _say(thing: Path, found: list[Difference], phase: str) -> Iterator[str]:
    name = _name(thing, phase)
    is_whole = len(thing) > 2 or thing[0] == "data"
    if is_whole and all(d.before is None for d in found):
        yield f"{name} was added"
    elif is_whole and all(d.after is None for d in found):
        yield f"{name} was removed"
    elif thing[0] == "data":
        yield from _say_data(name, found)
    elif thing[:2] == ("graph", "nodes"):
        yield from _say_node(name, found)
    else:
        yield from _say_attributes(name, found, len(thing))


def _name(thing: Path, phase: str) -> str:
    match thing:
        case ("data", label):
            return f"FeatureSet {label!r}"
        case ("graph", "nodes", label):
            return f"node {label!r}"
        case ("graph", *_):
            return "the graph's optimizer"
        case ("phase", "bindings", _, what):
            return f"{what} of {phase!r}"
        case ("phase", "losses", label):
            return f"loss {label!r} of {phase!r}"
        case ("phase", "callbacks", label):
            return f"callback {label!r} of {phase!r}"
        case _:
            return repr(phase)


def _say_data(name: str, found: list[Difference]) -> Iterator[str]:
    """Say of a set how many samples it has now, else which columns and splits are others."""
    counts = [d for d in found if d.path[2:] == ("n_samples",)]
    if counts:
        yield f"{name} changed n_samples {counts[0].before} -> {counts[0].after}"
        return
    columns = [d.path[3] for d in found if d.path[2] == "columns"]
    if columns:
        yield f"{name} changed values of {', '.join(columns)}"
    for d in found:
        if d.path[2] == "splits":
            yield f"{name} changed rows of the split {d.path[3]!r}"
    scalers = [d for d in found if d.path[2] == "scalers"]
    if any(d.before is None or d.after is None or len(d.path) < 5 for d in scalers):
        yield f"{name} changed its scalers"
    else:
        yield from _say_attributes(f"a scaler of {name}", scalers, 4)


def _say_node(name: str, found: list[Difference]) -> Iterator[str]:
    told = [d for d in found if d.path[3] != "initial weights"]
    if not told:
        yield f"{name} was defined anew, or given other weights to begin with"
    for d in told:
        attribute = ".".join(d.path[4:] if d.path[3] == "model" and len(d.path) > 4 else d.path[3:])
        before, after = str(d.before), str(d.after)
        if before.partition(" (source ")[0] == after.partition(" (source ")[0] and before != after:
            yield f"the source of {after.partition(' (source ')[0]} of {name} changed"
        else:
            yield f"{name} changed {attribute} {before} -> {after}"


def _say_attributes(name: str, found: list[Difference], n_thing: int) -> Iterator[str]:
    types = [d for d in found if d.path[-1] == "type" and d.before is not None and d.after is not None]
    for d in types or found:
        before, after = d.before, d.after
        if before and after and before.partition(" (source ")[0] == after.partition(" (source ")[0]:
            yield f"{name} changed the source of {after.partition(' (source ')[0]}"
            continue
        attribute = ".".join(d.path[n_thing:])
        values = f"{'–' if before is None else before} -> {'–' if after is None else after}"
        yield " ".join(part for part in (name, "changed", attribute, values) if part)
