"""Who is who in an experiment: labels and ids -> nodes, and the model graph.

It names no class: whatever has a `label` and a `node_id` can be registered.

Each experiment has a context of its own, so equal labels in two experiments never
meet. Objects register in the *active* context when they are made; at run time
everything is looked up in the context of the experiment that runs.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, Self, TypeVar

from modularml.base.errors import (
    DuplicateLabelError,
    InvalidTypeError,
    UnknownNameError,
    check_label,
    unknown_name,
)
from modularml.base.keywords import checked_keywords
from modularml.base.registration import RegistrationPolicy
from modularml.base.rows import derived_seed
from modularml.core import cells
from modularml.display.notice import notice

NodeT = TypeVar("NodeT")


class Registered(Protocol):
    """What the context asks of the things it holds."""

    label: str
    node_id: str


def new_id() -> str:
    """Return an id that no other object bears."""
    return str(uuid.uuid4())


@checked_keywords
class ExperimentContext:
    """The nodes of one experiment, by label and by id.

    Args:
        registration_policy: ``"raise" | "overwrite" | "rename"``, or None for the
            default: the environment's `MODULARML_EXP_REGISTRATION_POLICY`, else
            ``"raise"``, but that a cell of a notebook which is executed again replaces
            what it defined before.

    Attributes:
        seed: What every random choice of the experiment follows from, if it has one.

    Raises:
        InvalidValueError: If the policy is unknown.
    """

    def __init__(self, *, registration_policy: str | None = None) -> None:
        self._nodes: dict[str, Any] = {}
        self._cells: dict[str, cells.Cell] = {}
        self._withdrawn: dict[str, cells.Cell | None] = {}
        self._model_graph: Any = None
        self._graph_cell: cells.Cell | None = None
        self._experiment: weakref.ref[Any] | None = None
        self.seed: int | None = None
        self.set_registration_policy(registration_policy)

    def seed_for(self, *parts: str | int) -> int | None:
        """Return the seed of a part of the experiment, or None where the experiment has none."""
        return None if self.seed is None else derived_seed(self.seed, *parts)

    def __repr__(self) -> str:
        graph = self._model_graph.label if self._model_graph is not None else None
        return f"ExperimentContext(nodes={list(self._nodes)}, model_graph={graph!r})"

    # The text of print() is the plain object's, with its public address.
    __str__ = object.__repr__

    # -- which one is active ---------------------------------------------------

    @staticmethod
    def get_active() -> ExperimentContext:
        """Return the active context; the first call of a thread makes one."""
        scoped = _scoped.get()
        if scoped is not None:
            return scoped
        if not hasattr(_base, "context"):
            _base.context = ExperimentContext()
        active: ExperimentContext = _base.context
        return active

    def activate(self) -> ExperimentContext:
        """Make this the context in which new objects register; in `temporary` for a block."""
        if _scoped.get() is not None:
            _scoped.set(self)
        else:
            # A thread-local, as some kernels run each cell in a fresh copy of the context variables.
            _base.context = self
        return self

    @contextlib.contextmanager
    def temporary(self) -> Iterator[ExperimentContext]:
        """Make this the active context within a ``with`` block; what is activated there ends with it."""
        token = _scoped.set(self)
        try:
            yield self
        finally:
            _scoped.reset(token)

    # -- policy ----------------------------------------------------------------

    @property
    def registration_policy(self) -> str:
        """The policy in force here and now, as one of the public words."""
        return self._policy_in_force() or RegistrationPolicy.RAISE

    def _policy_in_force(self) -> str | None:
        lent = _lent.get().get(self)
        return lent or self._policy or RegistrationPolicy.of_environment()

    def may_replace(self, defined_in: cells.Cell | None) -> bool:
        """Tell whether what that cell defined may be replaced now, by policy or as the cell runs again."""
        policy = self._policy_in_force()
        return policy == RegistrationPolicy.OVERWRITE or (policy is None and cells.is_again(defined_in))

    @property
    def chosen_policy(self) -> str | None:
        """The policy that was chosen, or None where the default is in force."""
        return self._policy

    def set_registration_policy(self, policy: str | None) -> None:
        """Choose the policy; None returns to the default."""
        self._policy = None if policy is None else RegistrationPolicy.from_value(policy)

    @contextlib.contextmanager
    def use_policy(self, policy: str) -> Iterator[None]:
        """Use another policy within a ``with`` block, in this thread only."""
        token = _lent.set({**_lent.get(), self: RegistrationPolicy.from_value(policy)})
        try:
            yield
        finally:
            _lent.reset(token)

    @contextlib.contextmanager
    def dont_register(self) -> Iterator[None]:
        """Make objects within a ``with`` block that stay unknown to the context, in this thread only."""
        token = _unregistered.set(_unregistered.get() | {self})
        try:
            yield
        finally:
            _unregistered.reset(token)

    @contextlib.contextmanager
    def none_left_on_error(self) -> Iterator[None]:
        """Forget the nodes and the graph that were new within a ``with`` block which an error ends."""
        labels, graph = set(self._nodes), self._model_graph
        try:
            yield
        except BaseException:
            for label in [label for label in self._nodes if label not in labels]:
                self.remove_node(label=label)
            if graph is None:
                self.remove_model_graph()
            raise

    @property
    def _registers(self) -> bool:
        return self not in _unregistered.get()

    # -- nodes -----------------------------------------------------------------

    @property
    def nodes(self) -> Mapping[str, Any]:
        """Label -> node, in the order of registration."""
        return MappingProxyType(self._nodes)

    def register(self, node: Registered) -> None:
        """Enter a node under its label; the policy decides when the label is taken.

        Raises:
            DuplicateLabelError: If the label is taken and the policy is ``"raise"``.
        """
        if not self._registers or self._nodes.get(node.label) is node:
            return
        present = self._nodes.get(node.label)
        if present is not None and self.registration_policy == RegistrationPolicy.RENAME:
            node.label = self.free_label(node.label)
        elif present is not None:
            if not self.may_replace(self._cells.get(node.label)):
                taken = f"The label {node.label!r} is taken by a {type(present).__name__} of this experiment"
                raise DuplicateLabelError(taken_by(taken, self._cells.get(node.label)))
            if _kind(present) is not _kind(node):
                notice(
                    "Replaced",
                    f"{type(present).__name__} {node.label!r} made room for a {type(node).__name__} "
                    "of the same label.",
                )
        self.replace(node)

    def free_label(self, label: str) -> str:
        """Return `label`, or `label` with the first free suffix: ``MLP_2``, ``MLP_3``, ..."""
        candidate, n = label, 1
        while candidate in self._nodes:
            n += 1
            candidate = f"{label}_{n}"
        return candidate

    def replace(self, node: Registered) -> None:
        """Enter a node in the place of whatever bears its label, whatever the policy."""
        if node.label in self._nodes:
            cells.replaced(self._nodes[node.label])
        self._nodes[node.label] = node
        self._note(node.label, node)

    def _note(self, label: str, thing: Any) -> None:
        """Note which cell defines what."""
        cell = cells.current()
        self._cells.pop(label, None)
        self._withdrawn.pop(label, None)
        if cell is not None:
            self._cells[label] = cell
            former = cells.made_before("node", label, self)
            if former not in (None, thing) and self.may_replace(self._cells.get(former.label)):
                self._withdraw(former)  # it was renamed since
            cells.define(thing, "node", label, self)

    def keep(self, node: Registered) -> None:
        """Let a cell that runs again, and would define this node just so, be the one that defines it."""
        if cells.made_before("node", node.label, self) is node:
            cells.define(node, "node", node.label, self)

    def _withdraw(self, thing: Any) -> None:
        """Forget a node that its cell, run again, does not define any more."""
        if self.has_node(thing):
            self._withdrawn[thing.label] = cells.current()
            self.remove_node(label=thing.label)

    def rename(self, node: Registered, label: str) -> None:
        """Keep a registered node under another label; setting ``node.label`` calls this.

        Raises:
            DuplicateLabelError: If the label is taken by another node, which may not be replaced.
        """
        check_label(label, "node")
        taken = self._nodes.get(label)
        if taken is not None and taken is not node and not self.may_replace(self._cells.get(label)):
            raise DuplicateLabelError(f"Cannot rename {node.label!r} to {label!r}: that label is taken.")
        cell = self._cells.pop(node.label, None)
        kept = {key: n for key, n in self._nodes.items() if n is node or key != label}
        self._nodes = {(label if n is node else key): n for key, n in kept.items()}
        if cell is not None:
            self._cells[label] = cell

    def remove_node(
        self,
        *,
        node_id: str | None = None,
        label: str | None = None,
        error_if_missing: bool = True,
    ) -> None:
        """Forget a node, named by its id or its label.

        Raises:
            UnknownNameError: If there is none, unless `error_if_missing` is False.
        """
        key = label if label is not None else node_id
        if key is not None and self.has_node(key):
            label = self.get_node(key).label
            del self._nodes[label]
            self._cells.pop(label, None)
        elif error_if_missing:
            raise UnknownNameError(unknown_name("node", key, self._nodes))

    def has_node(self, node: object) -> bool:
        """Tell whether `node` (a label, an id, a reference or the object itself) is registered."""
        return self._find(node) is not None

    def get_node(self, node: object, enforce_type: type[NodeT] | None = None) -> Any:
        """Return a node by label, by id, by reference, or itself if it is registered.

        Args:
            node: A label, an id, a node, or a reference to one. A reference leads to the
                node of its id, whatever that is called by now, and where that is gone
                (replaced by a re-run cell) to the node of its label.
            enforce_type: The class it must be of.

        Raises:
            UnknownNameError: If nothing answers to it; the message has the nearest match.
            InvalidTypeError: If it is of another class than asked for.
        """
        found = self._find(node)
        if found is None and hasattr(node, "node_id") and not hasattr(node, "node_label"):
            raise UnknownNameError(
                f"{type(node).__name__} {getattr(node, 'label', '')!r} is not of this experiment: made "
                "in another one, or before this one was made, or a later definition took its label. Use the "
                "present one, make the Experiment first, or activate the other: exp.ctx.activate()."
            )
        if found is None:
            name = getattr(node, "node_label", getattr(node, "label", node))
            fault = unknown_name("node", name, self._nodes, where="this experiment")
            cell = self._withdrawn.get(str(name))
            if cell is not None:
                fault += (
                    f" Cell {cell} ran again and defines it no more; run the cells that use it again, too."
                )
            raise UnknownNameError(fault)
        if enforce_type is not None and not isinstance(found, enforce_type):
            raise InvalidTypeError(
                f"{found.label!r} is a {type(found).__name__}; a {enforce_type.__name__} is needed here."
            )
        return found

    def label_of(self, ref: Any) -> str:
        """Return the label that what a reference names bears by now, or last bore."""
        found = self._find(ref)
        return str(ref.node_label if found is None else found.label)

    def _find(self, node: object) -> Any:
        if isinstance(node, str):
            return self._nodes[node] if node in self._nodes else self._of_id(node)
        label = getattr(node, "node_label", None)
        if label is not None:
            named = self._nodes.get(label)
            if named is not None and named.node_id == node.node_id:  # type: ignore[attr-defined]
                return named
            identified = self._of_id(node.node_id)  # type: ignore[attr-defined]
            return named if identified is None else identified
        return node if any(known is node for known in self._nodes.values()) else None

    def _of_id(self, node_id: str) -> Any:
        return next((known for known in self._nodes.values() if known.node_id == node_id), None)

    def clear(self) -> None:
        """Forget every node and the model graph."""
        self._nodes.clear()
        self._cells.clear()
        self._withdrawn.clear()
        self._model_graph = None

    # -- copies ------------------------------------------------------------------

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, by which whatever is of an experiment is refused."""
        raise InvalidTypeError(
            "What belongs to an experiment is not pickled: it would take all of it along. Write a file, and "
            'open it in the other process: path = exp.save("first"); Experiment.load(path). Folds and '
            "searches do so themselves: n_jobs=."
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperimentContext:
        """Return itself: it is where things are, and a copy of one of them stays there too."""
        return self

    def copied(self, memo: dict[int, Any], shared: Iterable[Registered], own: Iterable[Registered]) -> Self:
        """Return a context of its own for copies of what this one holds.

        Args:
            memo: That of `copy.deepcopy`, by which copies find the new context and each other.
            shared: The nodes that both are to hold.
            own: The nodes that are copied.
        """
        made = type(self)(registration_policy=self._policy)
        made.seed, made._cells = self.seed, dict(self._cells)
        memo[id(self)] = made
        memo.update((id(node), node) for node in shared)
        kept = {id(node) for node in (*shared, *own)}
        made._nodes = {
            label: copy.deepcopy(node, memo) for label, node in self._nodes.items() if id(node) in kept
        }
        return made

    # -- the one graph and the one experiment ------------------------------------

    @property
    def model_graph(self) -> Any:
        """The model graph, or None; an experiment has one."""
        return self._model_graph

    def register_model_graph(self, graph: Any) -> None:
        """Make `graph` the model graph, in the place of the one before.

        Raises:
            DuplicateLabelError: If there is another one and the policy is ``"raise"``.
        """
        present = self._model_graph
        if not self._registers or graph is present:
            return
        renames = self.registration_policy == RegistrationPolicy.RENAME
        if present is not None and not renames and not self.may_replace(self._graph_cell):
            raise DuplicateLabelError(
                taken_by(
                    f"This experiment already has the ModelGraph {present.label!r}, so {graph.label!r} "
                    "cannot be registered too",
                    self._graph_cell,
                    otherwise="Make a new Experiment",
                )
            )
        if present is not None:
            cells.replaced(present)
        self._model_graph, self._graph_cell = graph, cells.current()

    def remove_model_graph(self) -> None:
        """Forget the model graph; its nodes stay."""
        self._model_graph = None

    @property
    def experiment(self) -> Any:
        """The experiment that this context belongs to, or None."""
        return self._experiment() if self._experiment is not None else None

    def set_experiment(self, experiment: Any) -> None:
        """Tie the context to its experiment (weakly: the experiment owns the context)."""
        self._experiment = weakref.ref(experiment)


@contextlib.contextmanager
def staging() -> Iterator[ExperimentContext]:
    """Give a context to make what a file holds in, before it moves on; what stays there goes at the end."""
    staged = ExperimentContext(registration_policy=RegistrationPolicy.RAISE)
    try:
        yield staged
    finally:
        staged.clear()  # a context and what it knows are a cycle


def taken_by(fault: str, cell: cells.Cell | None, *, otherwise: str = "Choose another label") -> str:
    """Say that a label is taken: by which cell, if it was one, and what can be done."""
    if cell is None:
        return f'{fault}. {otherwise}, or let it be replaced: registration_policy="overwrite" (or "rename").'
    twice = cells.current() is not None and cells.current() == cell
    where = "this cell itself, in the same run" if twice else f"the cell {cell}"
    again = "" if twice else "Run that cell again to replace it. "
    return (
        f"{fault}; it was defined in {where}. {again}{otherwise}, or let it be replaced: "
        'registration_policy="overwrite" (or "rename").'
    )


def copy_of(node: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy of a node: alone it has an id of its own, and no label is taken by it.

    Args:
        node: What can be registered.
        memo: That of `copy.deepcopy`.
    """
    made = object.__new__(type(node))
    memo[id(node)] = made
    vars(made).update(copy.deepcopy(vars(node), memo))
    if id(node.context) not in memo:
        made.node_id = new_id()
    return made


def _kind(node: object) -> type:
    """The root of the classes of a node: FeatureSets are of one kind, graph nodes of another."""
    ours = (c for c in reversed(type(node).__mro__) if c.__module__.partition(".")[0] == "modularml")
    return next(ours, type(node))


# The public address of the class: users know it there, and print() shows it. It is defined
# down here because everything that has a label registers with it.
ExperimentContext.__module__ = "modularml.core.experiment.experiment_context"

_base = threading.local()
# Context variables, as what one thread lends itself must not reach the others.
_lent: ContextVar[Mapping[ExperimentContext, str]] = ContextVar(
    "modularml_policies", default=MappingProxyType({})
)
_unregistered: ContextVar[frozenset[ExperimentContext]] = ContextVar("modularml_silent", default=frozenset())
_scoped: ContextVar[ExperimentContext | None] = ContextVar("modularml_context", default=None)
