"""A node that holds a model: a torch module or a scikit-learn estimator.

It knows no batches, losses or phases; execution calls its model directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from modularml.backends.accelerator import Accelerator, as_accelerator
from modularml.backends.torch import as_array, as_tensor, dtype_of, seeded
from modularml.backends.torch_modules import first_floating
from modularml.base.definitions import own_definitions, version
from modularml.base.errors import (
    Faults,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    StateError,
)
from modularml.base.keywords import checked_keywords
from modularml.core.data.batch import Batch, RoleData, SampleData
from modularml.core.data.reference import doubled_in
from modularml.core.topology.graph_node import GraphNode, OutputShape, UpstreamReference
from modularml.core.training.optimizer import Optimizer, as_optimizer
from modularml.display.figures import format_shape
from modularml.models import BaseModel, wrap_model
from modularml.models.torch import TorchModelWrapper


@checked_keywords
class ModelNode(GraphNode):
    """A model in a graph, fed by FeatureSets or other nodes.

    Args:
        label: Its name; unique in the experiment.
        model: A `BaseModel`, a `torch.nn.Module` or a scikit-learn estimator. A module brings the weights
            that it was made with; those of a class of modules, and of models that build themselves, are made
            by `build` and follow from the experiment's seed.
        upstream_ref: Where its input comes from: a `FeatureSet`, ``fs.reference(...)``,
            another node, or ``node.reference("logits")`` for one of several outputs. A module that
            takes several inputs gets a list of these, by position, or a dict of them, by the argument of
            its ``forward()``; rows and targets are those of the first. Columns of integers and of bools
            reach it as such where it takes them so: token ids, masks.
        optimizer: Trains this node alone, in graphs without an optimizer of their own: an `Optimizer`,
            its name or its class.
        accelerator: The device that it computes on during phases, whatever theirs is.
        node_id: Its id; made when None.
        register: Enter it in the active experiment.

    Raises:
        InvalidTypeError: If the model, the upstream or the optimizer is of a wrong type.
        DuplicateLabelError: If the label is taken and the policy is ``"raise"``.
    """

    kind = "ModelNode"
    _fixed: ClassVar[Mapping[str, str]] = {
        **GraphNode._fixed,
        "model": "put a node that holds the other model in its place, graph.replace_node(node, other)",
        "upstream_ref": "let something else feed it by set_upstream_ref(...)",
    }
    _elsewhere: ClassVar[Mapping[str, str]] = {
        "create_input_binding": (
            "The binding asks: InputBinding.for_training(node=node, sampler=SimpleSampler(batch_size=8))."
        ),
        "train_step eval_step fit_step fit train": "A phase does that: exp.run_phase(phase).",
        "get_state set_state get_config from_config": "Its graph has those of all nodes: graph.get_state().",
        "clear_upstream_refs": (
            "Something feeds each node; let another do: graph.nodes['mlp'].set_upstream_ref(fs)."
        ),
        "predict transform predict_proba": (
            "Its graph does, or a call of it: graph.predict(new, nodes='mlp')."
        ),
        "estimator pipeline": "Its model holds it: graph.nodes['scaler'].model.estimator.",
    }

    def __init__(
        self,
        label: str,
        model: Any,
        upstream_ref: Any,
        optimizer: Optimizer | str | Callable[..., Any] | None = None,
        accelerator: Accelerator | str | None = None,
        *,
        node_id: str | None = None,
        register: bool = True,
    ) -> None:
        faults = Faults(f"ModelNode {label!r}")
        several, names = _several(upstream_ref)
        if not several:
            faults.add(InvalidValueError("it needs an upstream, and the list of them is empty."))
        self._optimizer: Optimizer | None = None
        if optimizer is not None:
            self._optimizer = faults.attempt(as_optimizer, optimizer)
        self.accelerator = faults.attempt(as_accelerator, accelerator)
        try:
            self.model: BaseModel = wrap_model(model)
        except ModularMLError as error:
            faults.add(error)
        else:
            if len(several) > 1 or names is not None:
                faults.attempt(self._expect, names)
        faults.raise_if_any()
        self._made_by = inits_of(self.model)  # own class -> the __init__ that it had then
        self._names = names
        self._n_inputs = len(several)
        super().__init__(label, several, node_id=node_id, register=register)

    def _assigned(self, name: str, value: Any) -> Any:
        return as_accelerator(value) if name == "accelerator" else super()._assigned(name, value)

    def _expect(self, names: list[str] | None) -> None:
        """Let the model expect several inputs."""
        if not isinstance(self.model, TorchModelWrapper):
            raise InvalidTypeError(
                f"a {type(self.model).__name__} takes one input; several go to a torch.nn.Module, or are "
                "merged before, e.g. with a ConcatNode."
            )
        if self.model.input_names is None:
            self.model.input_names = names

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {
            "model": repr(self.model),
            "input shape": self.input_shape,
            "output shape": format_shape(self.output_shape),
            "optimizer": None if self.optimizer is None else repr(self.optimizer),
        }

    @property
    def optimizer(self) -> Optimizer | None:
        """What trains it alone; a new one counts from the next phase on."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | str | Callable[..., Any] | None) -> None:
        self._optimizer = None if optimizer is None else as_optimizer(optimizer)

    @property
    def backend(self) -> str:
        """The numeric library of its model: ``"torch"`` or ``"scikit"``."""
        return self.model.backend

    @property
    def module(self) -> torch.nn.Module:
        """The torch module: that which was handed over, or made when it was built.

        Raises:
            StateError: If the model is not built, or made with another library.
        """
        return self._module("own_module")

    @property
    def _called_module(self) -> torch.nn.Module:
        """What is called with batches as they come: the module, behind a reshape where it needs one.

        Raises:
            StateError: If the model is not built, or made with another library.
        """
        return self._module("module")

    def _module(self, name: str) -> torch.nn.Module:
        found = getattr(self.model, name, None)
        if found is None:
            raise StateError(f"{self!r} holds no torch module but a {type(self.model).__name__}.")
        module: torch.nn.Module = found
        return module

    @property
    def can_learn(self) -> bool:
        """Whether it is a torch model with parameters that ask for gradients, or may be when it is built."""
        if self.backend != "torch":
            return False
        return not self.is_built or any(p.requires_grad for p in self.module.parameters())

    @property
    def has_sparse_gradients(self) -> bool:
        """Whether an embedding in it says that its gradients are sparse."""
        return any(getattr(layer, "sparse", False) is True for layer in self.module.modules())

    @property
    def input_shapes(self) -> tuple[tuple[int, ...] | None, ...]:
        """Shape of one input sample of each upstream, or None before `build`."""
        shape: Any = self.model.input_shape
        if self.takes_list:
            return (None,) * len(self.upstream_refs) if shape is None else tuple(shape)
        return (shape,)

    @property
    def takes_list(self) -> bool:
        """Whether its module takes several inputs."""
        return self._n_inputs > 1 or self._names is not None

    @property
    def upstream_ref(self) -> Any:
        """What feeds it, as it was given: a reference, a list of them, or a dict by argument."""
        refs = list(self.upstream_refs)
        if self._names is not None:
            return dict(zip(self._names, refs, strict=True))
        return refs if self.takes_list else refs[0]

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input sample, or None before `build`."""
        return self.model.input_shape

    @property
    def output_shape(self) -> OutputShape | None:
        """Shape of one output sample, or None before `build`; by name where it has several outputs."""
        return self.model.output_shape

    @property
    def is_built(self) -> bool:
        """Whether shapes are known and weights exist."""
        return self.model.is_built

    def build(
        self,
        input_shape: Any = None,
        output_shape: tuple[int, ...] | None = None,
        *,
        force: bool = False,
        input_kinds: Sequence[str] | None = None,
    ) -> None:
        """Build the model for these sample shapes.

        Where the experiment has a seed, new weights follow from it and the node's label.

        Args:
            input_shape: Shape of one input sample; a list of them for several inputs.
            output_shape: Shape wanted of one output sample; None leaves it to the model.
            force: Build again, with new weights.
            input_kinds: What comes on each of several inputs: ``"float"``, ``"int"`` or ``"bool"``.

        Raises:
            GraphError: If the model does not take that shape; the message names the node.
        """
        try:
            is_new = force or not self.is_built
            with seeded(self._context.seed_for("weights", self.label)):
                kinds = {} if input_kinds is None else {"input_kinds": input_kinds}
                self.model.build(input_shape, output_shape, force=force, **kinds)
            self._made_by |= inits_of(self.model) if is_new else {}
        except ModularMLError as error:
            doubled = doubled_in(self.featureset_refs)
            doubled = doubled.replace(" ", "\n", 1) if "\n" in str(error) else doubled
            raise GraphError(
                f"{self!r} cannot be built for inputs of shape {input_shape}: {error}{doubled}"
            ) from error

    def __call__(self, x: Any) -> Any:
        """Return its outputs for a batch, in the mode that its model is in.

        Args:
            x: An array or a tensor ``(n_samples, *input_shape)``, a list of them for several inputs, or
                `SampleData`, `RoleData` or a `Batch`, which come back with outputs in the place of features.

        Raises:
            StateError: If it is not built, or its estimator is not fitted.
        """
        if not self.is_built:
            raise StateError(f"{self!r} is not built; call graph.build() first.")
        if isinstance(x, Batch):
            data = self(x.role_data)
            return replace(x, role_data=data, shapes={role: of_role.shapes for role, of_role in data.items()})
        if isinstance(x, RoleData):
            return RoleData({role: self(of_role) for role, of_role in x.items()})
        if isinstance(x, SampleData):
            return SampleData(
                features=self(x.features),
                targets=x.targets,
                tags=x.tags,
                sample_uuids=x.sample_uuids,
                kind="output",
            )
        if self.backend != "torch":
            return self.model.forward(as_array(x) if isinstance(x, torch.Tensor) else x)
        tensors = [
            as_tensor(one, dtype=dtype)
            for one, dtype in zip(x if self.takes_list else [x], self.input_dtypes, strict=True)
        ]
        return self._called_module(tensors if self.takes_list else tensors[0])

    build_model = build
    forward = forward_single = __call__

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of its module's floating-point parameters, which it computes in; None without any."""
        parameter = first_floating(self.module) if self.backend == "torch" else None
        return None if parameter is None else parameter.dtype

    @property
    def input_dtypes(self) -> list[torch.dtype]:
        """The dtype that the torch module takes each input in: that of its parameters, integers or bools."""
        floating = self.dtype or torch.get_default_dtype()
        kinds = self.model.input_kinds or ["int" if self.model.takes_integers else "float"] * self._n_inputs
        return [dtype_of(kind, floating) for kind in kinds]

    def _check_upstream_refs(self, upstreams: Sequence[Any]) -> tuple[UpstreamReference, ...]:
        """Return the reference that is meant; see `GraphNode._check_upstream_refs`."""
        refs = super()._check_upstream_refs(upstreams)
        if len(refs) != self._n_inputs:
            labels = [ref.node_label for ref in refs]
            n = "one upstream" if self._n_inputs == 1 else f"{self._n_inputs} upstreams"
            hint = "merge several, e.g. with a ConcatNode" if len(refs) > self._n_inputs else "set another"
            raise GraphError(f"{self!r} takes exactly {n}, not {labels}; {hint}.")
        return refs

    def set_upstream_ref(self, upstream: Any) -> None:
        """Let it be fed by something else; see `set_upstream_refs`."""
        self.set_upstream_refs([upstream])

    def reset_weights(self) -> None:
        """Return to the weights that the model was built with."""
        self.model.reset_weights()


def inits_of(model: BaseModel) -> dict[str, str]:
    """Return the constructors that a model was made by: full name of the class -> its version."""
    classes = [found for found in own_definitions(model) if isinstance(found, type)]
    return {f"{cls.__module__}.{cls.__qualname__}": version(vars(cls).get("__init__")) for cls in classes}


def _several(upstream_ref: Any) -> tuple[list[Any], list[str] | None]:
    """Return all upstreams, and the arguments that they go to."""
    if isinstance(upstream_ref, Mapping):
        return list(upstream_ref.values()), [str(name) for name in upstream_ref]
    return (list(upstream_ref) if isinstance(upstream_ref, list | tuple) else [upstream_ref]), None
