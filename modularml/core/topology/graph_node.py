"""What every node of a model graph has: a label, an id, upstream references, a frozen flag.

It knows neither models nor data: a reference says where inputs come from, by label.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from modularml.base.errors import GraphError, InvalidTypeError, InvalidValueError, check_label, unknown_name
from modularml.base.keywords import checked_keywords
from modularml.core.context import ExperimentContext, copy_of, new_id
from modularml.core.data.featureset import FeatureSet
from modularml.core.data.reference import FeatureSetReference, GraphNodeReference
from modularml.core.data.view import Selection
from modularml.core.topology.merge_strategy import Strategy
from modularml.display.card import Html, Shown, card, fields

UpstreamReference = FeatureSetReference | GraphNodeReference
Shape = tuple[int, ...]
OutputShape = Shape | dict[str, Shape]


@checked_keywords
class GraphNode(Shown):
    """A node of a `ModelGraph`: see `ModelNode` and `MergeNode`.

    Args:
        label: Its name; unique in the experiment.
        upstream_refs: Where its inputs come from: `FeatureSet`, `FeatureSetReference`,
            another node, or a `GraphNodeReference`.
        node_id: Its id; made when None.
        register: Enter it in the active context.

    Raises:
        InvalidTypeError: If an upstream is something else.
        DuplicateLabelError: If the label is taken and the policy is ``"raise"``.
    """

    kind: ClassVar[str] = "GraphNode"  # what a picture calls it
    _fixed: ClassVar[Mapping[str, str]] = {"node_id": "others know it by that"}

    def __init__(
        self,
        label: str,
        upstream_refs: Sequence[Any],
        *,
        node_id: str | None = None,
        register: bool = True,
    ) -> None:
        self._label = check_label(label, type(self).__name__)
        self.node_id = node_id or new_id()
        self._frozen_by: str | None = None
        self._context = ExperimentContext.get_active()
        self.upstream_refs = tuple(self._as_reference(up) for up in upstream_refs)
        if register:
            self._context.register(self)

    def _assigned(self, name: str, value: Any) -> Any:
        return self._check_upstream_refs(value) if name == "upstream_refs" else value

    @property
    def label(self) -> str:
        """Its name; setting it renames the node in its experiment."""
        return self._label

    @label.setter
    def label(self, label: str) -> None:
        check_label(label, type(self).__name__)
        if self._context.has_node(self):
            self._context.rename(self, label)
        self._label = label

    @property
    def context(self) -> ExperimentContext:
        """The context that it belongs to."""
        return self._context

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a node with a model and weights of its own, in the same experiment and unknown to it.

        ``node.context.register(copied)`` enters it, once it has another label.
        """
        made: Self = copy_of(self, memo)
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r})"

    def _card(self) -> Html:
        return card(type(self).__name__, self.label, fields(self._facts()), note="frozen" * self.is_frozen)

    def _facts(self) -> dict[str, Any]:
        """What its card tells of it: name -> value, or None for what is not known yet."""
        upstream = [self._context.get_node(r) if self._context.has_node(r) else r for r in self.upstream_refs]
        labels = [getattr(node, "label", None) or node.node_label for node in upstream]
        return {"upstream": ", ".join(labels)}

    def _as_reference(self, upstream: object) -> UpstreamReference:
        if isinstance(upstream, FeatureSetReference | GraphNodeReference):
            return upstream
        if isinstance(upstream, GraphNode | FeatureSet):
            if upstream.context is not self._context:
                raise InvalidValueError(
                    f"The upstream {upstream!r} of {type(self).__name__} {self.label!r} belongs to another "
                    "experiment, or was made before this one was. Make the Experiment first, or bind it to "
                    "what is there: Experiment.from_active_context(...)."
                )
            return upstream.reference()
        hint = " Which rows are used is said to a phase: split='train'." * isinstance(upstream, Selection)
        raise InvalidTypeError(
            f"The upstream of {type(self).__name__} {self.label!r} must be a FeatureSet, a reference "
            f"(fs.reference(...)) or another node, got {reprlib.repr(upstream)} "
            f"({type(upstream).__name__}).{hint}"
        )

    def _move_to(self, ctx: ExperimentContext) -> None:
        """Enter the node in another context, in the place of whatever bears its label there."""
        self._context = ctx
        ctx.replace(self)

    def reference(self, output: str | None = None) -> GraphNodeReference:
        """Return a reference to what this node puts out.

        Args:
            output: The name of one of its outputs, where it has several.

        Raises:
            GraphError: If it is built and has no such output.
        """
        if output is not None and self.is_built:
            self.output_name(output)
        return GraphNodeReference(self.label, self.node_id, output=output)

    # -- what feeds it -----------------------------------------------------------

    def _check_upstream_refs(self, upstreams: Sequence[Any]) -> tuple[UpstreamReference, ...]:
        """Return the references that are meant, if the node can be fed by them.

        Raises:
            InvalidTypeError: If one of them is no node, FeatureSet or reference.
            GraphError: If there are too few or too many.
        """
        return tuple(self._as_reference(up) for up in upstreams)

    def get_upstream_refs(self) -> list[UpstreamReference]:
        """Return the references to what feeds it, in order."""
        return list(self.upstream_refs)

    def set_upstream_refs(self, upstreams: Sequence[Any]) -> None:
        """Let it be fed by something else; a graph that it is in must be built again.

        Raises:
            InvalidTypeError: If one of them is no node, FeatureSet or reference.
            GraphError: If there are too few or too many; the node stays as it was.
        """
        self.upstream_refs = self._check_upstream_refs(upstreams)

    def add_upstream_ref(self, upstream: Any) -> None:
        """Let it be fed by one thing more; see `set_upstream_refs`."""
        self.set_upstream_refs([*self.upstream_refs, upstream])

    def remove_upstream_ref(self, upstream: Any) -> None:
        """Let it be fed by one thing less; see `set_upstream_refs`.

        Raises:
            GraphError: If that does not feed it.
        """
        ref = self._as_reference(upstream)
        if ref not in self.upstream_refs:
            labels = [up.node_label for up in self.upstream_refs]
            raise GraphError(unknown_name("upstream", ref.node_label, labels, where=repr(self)))
        self.set_upstream_refs([up for up in self.upstream_refs if up != ref])

    def _follow(self, renamed: Mapping[str, GraphNodeReference]) -> None:
        """Be fed by the same nodes as before under the ids and labels that they got.

        Args:
            renamed: Former id -> reference by now.
        """
        self.upstream_refs = tuple(renamed.get(ref.node_id, ref) for ref in self.upstream_refs)

    @property
    def featureset_refs(self) -> tuple[FeatureSetReference, ...]:
        """The references to FeatureSets among its upstreams."""
        return tuple(ref for ref in self.upstream_refs if isinstance(ref, FeatureSetReference))

    @property
    def node_refs(self) -> tuple[GraphNodeReference, ...]:
        """The references to other nodes among its upstreams."""
        return tuple(ref for ref in self.upstream_refs if isinstance(ref, GraphNodeReference))

    @property
    def backend(self) -> str:
        """The numeric library that computes it: ``"torch"`` or ``"scikit"``."""
        raise NotImplementedError

    @property
    def input_shapes(self) -> tuple[Shape | None, ...]:
        """Shape of one sample of each input, in the order of the upstreams; None before `build`."""
        raise NotImplementedError

    @property
    def output_shape(self) -> OutputShape | None:
        """Shape of one output sample, or None before `build`; by name where it has several outputs."""
        raise NotImplementedError

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of its outputs; none before `build`, and where its one output has no name."""
        shape = self.output_shape
        return tuple(shape) if isinstance(shape, dict) else ()

    def output_name(self, output: str | None = None) -> str | None:
        """Return the name of the output that is meant; None for one that has none.

        Args:
            output: Its name, which may be left out where there is one.

        Raises:
            GraphError: If there is no such output, or there are several and none is named.
        """
        names = self.output_names
        if output is None and len(names) < 2:
            return names[0] if names else None
        if output is None:
            raise GraphError(
                f"{self!r} has the outputs {list(names)}; name one: reference({names[0]!r}), or in losses "
                f"and results 'outputs.{names[0]}'."
            )
        if not names:
            raise GraphError(f"{self!r} has one output, without a name; there is no {output!r}.")
        if output not in names:
            raise GraphError(unknown_name("output", output, names, where=repr(self)))
        return output

    def shape_of_output(self, output: str | None = None) -> Shape | None:
        """Return the shape of a sample of one output; None before `build`. Raises as `output_name`."""
        shape, name = self.output_shape, self.output_name(output)
        return shape[str(name)] if isinstance(shape, dict) else shape

    @property
    def is_built(self) -> bool:
        """Whether it can take samples."""
        raise NotImplementedError

    def _data_strategy(self, domain: str) -> Strategy | UpstreamReference:
        """What becomes of the targets or tags of several upstreams: see `MergeNode`."""
        return "first"

    @property
    def is_frozen(self) -> bool:
        """Whether phases leave the node's weights alone."""
        return self._frozen_by is not None

    @property
    def frozen_by(self) -> str | None:
        """Who froze it: ``"user"``, ``"fit"`` (a fit phase that may fit it again), or None."""
        return self._frozen_by

    def freeze(self, by: str = "user") -> None:
        """Keep the weights as they are until `unfreeze`."""
        self._frozen_by = by

    def unfreeze(self) -> None:
        """Let phases change the weights again."""
        self._frozen_by = None
