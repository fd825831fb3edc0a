"""Which cell of a notebook runs, what it defined before, and what came in the place of what.

It alone asks IPython, and it names no class: whoever makes something says so here.

A cell is known by the id that the front end sends with it. Where none comes, the hash of its
source stands in; an edited cell is then known by what it defines: a label that was taken
by a cell that bound mostly the same names, or some of these alone.
"""

from __future__ import annotations

import ast
import hashlib
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from modularml.base.config import Configurable
from modularml.display.environment import running_shell

ThingT = TypeVar("ThingT")

_LINE = "_line_of_followers"
"""The attribute for the line that a definition is in."""


class _Line:
    """Definitions that followed each other, which share it, and the present one.

    A copy of a definition is in no line: nothing comes in its place.
    """

    def __init__(self, present: Any) -> None:
        self.present = present
        self._members: list[weakref.ref[Any]] = []

    def go_on(self, old: Any, new: Any) -> None:
        self._members = [ref for ref in self._members if ref() is not None]
        self._members += [weakref.ref(thing) for thing in (old, new) if thing not in self]
        self.present = new

    def __contains__(self, thing: object) -> bool:
        return any(ref() is thing for ref in self._members)

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _nothing, ()


@dataclass(frozen=True)
class Cell:
    """One execution of a cell.

    Attributes:
        id: The front end's id of the cell, or a hash of its source.
        source: Its text.
        number: The number that the front end shows beside it.
        execution: Tells the executions of one cell apart.
        from_front_end: Whether the id is the front end's.
    """

    id: str
    source: str
    number: int
    execution: int
    from_front_end: bool

    def __str__(self) -> str:
        return f"[{self.number}] {self.first_line}"

    @property
    def first_line(self) -> str:
        """Its first line that is not empty, cut where it is long."""
        first = next((line.strip() for line in self.source.splitlines() if line.strip()), "")
        return first if len(first) <= 60 else f"{first[:59]}…"

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that it binds at its top level."""
        text = "\n".join(line for line in self.source.splitlines() if not line.startswith(("%", "!", "?")))
        try:
            return frozenset(_bound(ast.parse(text).body))
        except SyntaxError:
            return frozenset()


def _bound(statements: list[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (node for target in targets for node in ast.walk(target)):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id
        else:
            for block in ("body", "orelse", "finalbody"):
                yield from _bound(getattr(statement, block, []))


class Owner(Protocol):
    """What holds definitions by label: a context, a plan."""

    def _withdraw(self, thing: Any) -> None:
        """Forget a definition that its cell does not make any more."""
        ...


@dataclass
class _Made:
    """What one execution of a cell made, weakly."""

    cell: Cell
    labelled: dict[Hashable, Callable[[], Any]] = field(default_factory=dict)
    owners: dict[Hashable, Callable[[], Any]] = field(default_factory=dict)
    named: dict[str, weakref.ref[Any]] = field(default_factory=dict)

    def take_over(self, before: _Made) -> None:
        """Keep what the execution before made and this one did not reach."""
        for own, old in ((self.labelled, before.labelled), (self.owners, before.owners)):
            for key, thing in old.items():
                own.setdefault(key, thing)
        for name, thing in before.named.items():
            self.named.setdefault(name, thing)


class _Notebook:
    """What the cells of one shell did."""

    def __init__(self, shell: Any) -> None:
        self._shell = weakref.ref(shell)
        self._last: dict[str, _Made] = {}
        self._bound: dict[str, Cell] = {}
        self._n_executions = 0
        self.listeners: list[Callable[[], None]] = []
        self.now: _Made | None = None
        self.before: _Made | None = None
        source, cell_id = _under_way(shell)
        self._begin(source, cell_id, _n_inputs(shell) - 1)
        shell.events.register("pre_run_cell", self._on_start)
        shell.events.register("post_run_cell", self._on_end)

    def _on_start(self, info: Any) -> None:
        self._begin(info.raw_cell, info.cell_id, _n_inputs(self._shell()))

    def _begin(self, source: str, cell_id: str | None, number: int) -> None:
        self._n_executions += 1
        digest = hashlib.blake2b(source.encode(), digest_size=16).hexdigest()
        cell = Cell(cell_id or digest, source, number, self._n_executions, cell_id is not None)
        self.now, self.before = _Made(cell), self._last.get(cell.id)

    def _on_end(self, result: Any) -> None:
        if self.now is None:
            return
        self.settle()
        now, before = self.now, self.before
        self._bound |= dict.fromkeys(now.cell.names, now.cell)
        if before is not None:
            if result.success and before.cell.source != now.cell.source:
                self._withdraw(before, now)
            else:
                now.take_over(before)
            self._last.pop(before.cell.id, None)
        if now.labelled or now.named:
            self._last[now.cell.id] = now
        self.now = self.before = None
        for listener in list(self.listeners):
            listener()

    @staticmethod
    def _withdraw(before: _Made, now: _Made) -> None:
        """Take back what an edited cell does not define any more, from where it still defines something."""
        touched = {id(owner()) for owner in now.owners.values()}
        for key, ref in before.labelled.items():
            owner = before.owners[key]() if key in before.owners else None
            thing = ref()
            if key not in now.labelled and owner is not None and thing is not None and id(owner) in touched:
                owner._withdraw(thing)

    def settle(self) -> None:
        """Note what the names of the present cell are bound to by now, and what that follows."""
        shell = self._shell()
        if self.now is None or shell is None:
            return
        for name in self.now.cell.names:
            value = shell.user_ns.get(name)
            if not isinstance(value, Configurable):
                continue
            if self.before is not None and name in self.before.named:
                _follow(self.before.named[name](), value)
            self.now.named[name] = weakref.ref(value)

    def forget_output(self, thing: Any) -> None:
        """Let the numbered outputs of the shell go of a thing, so that it can be freed."""
        shell = self._shell()
        if shell is None:
            return
        outputs = shell.user_ns.get("Out", {})
        for number in [number for number, value in list(outputs.items()) if value is thing]:
            del outputs[number]
            for names in (shell.user_ns, shell.user_ns_hidden):
                names.pop(f"_{number}", None)

    def made_before(self, key: Hashable) -> Any:
        """What the cell made under `key` when it ran before, or None."""
        ref = self.before.labelled.get(key) if self.before is not None else None
        return ref() if ref is not None else None

    def binder(self, name: str) -> Cell | None:
        """The cell that last bound a name, the present one included."""
        now = self.now.cell if self.now is not None else None
        return now if now is not None and name in now.names else self._bound.get(name)

    def maker(self, thing: Any) -> Cell | None:
        """The cell that made a thing."""
        for made in [*([] if self.now is None else [self.now]), *self._last.values()]:
            refs: list[Callable[[], Any]] = [*made.labelled.values(), *made.named.values()]
            if any(ref() is thing for ref in refs):
                return made.cell
        return None

    def match(self, taken_by: Cell) -> bool:
        """Tell whether the present cell is the one of `taken_by`, run again, edited or not."""
        if self.now is None or taken_by.execution == self.now.cell.execution:
            return False
        cell = self.now.cell
        if taken_by.id == cell.id:
            return True
        either, both = taken_by.names | cell.names, taken_by.names & cell.names
        is_alike = 2 * len(both) >= len(either) or both == taken_by.names  # or it binds more by now
        if taken_by.from_front_end or cell.from_front_end or not both or not is_alike:
            return False
        if self.before is None:
            self.before = self._last.get(taken_by.id)
        return True


_notebooks: weakref.WeakKeyDictionary[Any, _Notebook] = weakref.WeakKeyDictionary()


def _notebook() -> _Notebook | None:
    shell = running_shell()
    if shell is None:
        return None
    if shell not in _notebooks:
        _notebooks[shell] = _Notebook(shell)
    return _notebooks[shell]


def _n_inputs(shell: Any) -> int:
    """How many inputs the shell has numbered so far, with an empty one in front."""
    # Not by the name `In` in the user's namespace, which is also that of a predicate.
    history = None if shell is None else shell.history_manager
    return 0 if history is None else len(history.input_hist_parsed)


def _under_way(shell: Any) -> tuple[str, str | None]:
    """Return source and id of the cell that runs: the one that first uses this library."""
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    source = ((parent or {}).get("content") or {}).get("code")
    if source is not None:
        return source, ((parent or {}).get("metadata") or {}).get("cellId")
    inputs = shell.user_ns.get("In") or [""]
    return inputs[-1], None


def _follow(old: Any, new: Any) -> None:
    if old is None or old is new or _family(old) is not _family(new):
        return
    line = vars(old).get(_LINE)
    if line is None or old not in line:
        line = vars(old)[_LINE] = _Line(new)
    line.go_on(old, new)
    vars(new)[_LINE] = line
    replaced(old)


def _family(thing: Any) -> type:
    """The class right below `Configurable`: samplers follow samplers, phases phases."""
    return next(
        c for c in reversed(type(thing).__mro__) if issubclass(c, Configurable) and c is not Configurable
    )


def _nothing() -> None:
    return None


def current() -> Cell | None:
    """Return the cell that runs, or None in a script or between cells."""
    notebook = _notebook()
    return notebook.now.cell if notebook is not None and notebook.now is not None else None


def is_again(taken_by: Cell | None) -> bool:
    """Tell whether the present cell is `taken_by`, executed again: it may replace what it defined."""
    notebook = _notebook()
    return notebook is not None and taken_by is not None and notebook.match(taken_by)


def add_once(thing: ThingT, known: Sequence[ThingT], added_in: dict[int, Cell | None]) -> list[ThingT]:
    """Return what is known and `thing`, but for what the present cell added when it ran before.

    Args:
        thing: What is added.
        known: What is there.
        added_in: The cell that added each, by identity; it is kept up to date.
    """
    kept = [one for one in known if not is_again(added_in.get(id(one)))]
    for gone in set(added_in) - set(map(id, kept)):
        del added_in[gone]
    added_in[id(thing)] = current()
    return [*kept, thing]


def made_before(kind: str, label: str, owner: Owner | None = None) -> Any:
    """Return what the present cell made of this kind and label for its owner when it last ran, or None."""
    notebook = _notebook()
    place = (kind, label, id(owner) if owner is not None else 0)
    return notebook.made_before(place) if notebook is not None else None


def binder(name: str) -> Cell | None:
    """Return the cell that last bound this name, or None where no cell is known to."""
    notebook = _notebook()
    return notebook.binder(name) if notebook is not None else None


def maker(thing: Any) -> Cell | None:
    """Return the cell that made this, where it is known."""
    notebook = _notebook()
    return notebook.maker(thing) if notebook is not None else None


def define(thing: Any, kind: str, label: str, owner: Owner | None = None) -> None:
    """Say that the present cell makes `thing`; it follows what the cell made so before.

    Args:
        thing: What is made.
        kind: What kind of thing it is.
        label: Its label.
        owner: Who holds it under its label. It is asked to forget the thing when the cell,
            edited, does not make it any more.
    """
    notebook = _notebook()
    if notebook is None or notebook.now is None:
        return
    made, place = notebook.now, (kind, label, id(owner) if owner is not None else 0)
    if isinstance(thing, Configurable) and made.labelled.get(place) is None:
        _follow(notebook.made_before(place), thing)
    # Two of one name in one execution: which of them a later one follows cannot be known.
    made.labelled[place] = weakref.ref(thing) if place not in made.labelled else _nothing
    if owner is not None:
        made.owners[place] = weakref.ref(owner)


def replaced(thing: Any) -> None:
    """Let the shell's outputs go of what was replaced; they would keep it for ever."""
    notebook = _notebook()
    if notebook is not None:
        notebook.forget_output(thing)


def after_each(listener: Callable[[], None]) -> Callable[[], None]:
    """Call `listener` after each cell that was executed; return a function that ends this."""
    notebook = _notebook()
    if notebook is None:
        return lambda: None
    notebook.listeners.append(listener)
    return lambda: notebook.listeners.remove(listener)


def settle() -> None:
    """Take notice of what the present cell bound so far; a run in it is to use that."""
    notebook = _notebook()
    if notebook is not None:
        notebook.settle()


def present(thing: ThingT) -> ThingT:
    """Return what came in the place of `thing` when its cell ran again, or the thing itself."""
    line: _Line | None = getattr(thing, "__dict__", {}).get(_LINE)
    return thing if line is None or thing not in line else line.present


_notebook()  # so that the cell that imports is the last one that is not known from its start
