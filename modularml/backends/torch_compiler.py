"""PyTorch's compiler: a function of tensors made into one call of machine code.

It knows no model and no step.

What ``torch.compile`` returns looks at every call whether all that it traced is as it was: the
tensors' kinds, the attributes of modules, the values in closures. For a small network that takes
longer than its training step. Here it is looked at when the caller says so, and the calls between go
to the machine code, with the same tensors but for those that are the function's arguments.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch

MAX_TRACES = 4
"""How often what a function reads may change until it is not compiled any more."""

_OPTIONS = {"fallback_random": True}  # the random numbers of an eager run


class NotCompiledError(Exception):
    """A function cannot be compiled; the message is the reason, as a part of a sentence."""


def machine_code(graph: torch.fx.GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
    """Return what a traced graph is compiled to; it needs a C++ compiler, or finds its earlier work."""
    import torch._inductor  # it takes seconds, and few runs need it

    made: Callable[..., Any] = torch._inductor.compile(graph, list(examples), options=_OPTIONS)
    return made


class Compiled:
    """A function of a flat list of tensors that returns a flat list of tensors, compiled whole.

    Args:
        function: Made for this; it reads what it likes, and changes nothing but tensors, in place.
        forbidden: Tensors that it may not read, as it reads others in their place.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], list[torch.Tensor]],
        forbidden: Sequence[torch.Tensor] = (),
    ) -> None:
        # Torch keeps what it compiled by code object; ours goes with us.
        own = FunctionType(
            function.__code__.replace(), function.__globals__, "step", None, function.__closure__
        )
        self._function = torch.compile(own, backend=self._lower, fullgraph=True, dynamic=False)
        self._forbidden = {id(tensor) for tensor in forbidden}
        self._n_traces, self._runs = 0, False
        self._seen: tuple[Callable[..., Any], list[Any], Sequence[Any]] | None = None
        self._direct: Callable[..., Any] | None = None
        self._args: list[Any] = []
        self._places: list[tuple[int, int]] = []

    def checked(self, tensors: list[Any]) -> Sequence[torch.Tensor]:
        """Call the function, compiled anew if anything that it reads is of another kind or value.

        Raises:
            NotCompiledError: If it cannot be compiled; then nothing was changed.
        """
        self._seen, n_traces = None, self._n_traces
        disabled = torch._C._autograd._saved_tensors_hooks_get_disabled_error_message()
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # of the compiler's own deprecations
                found = self._function(tensors)
        except Exception as error:
            if self._runs:
                raise
            raise NotCompiledError(_reason(error)) from error
        finally:
            _allow_hooks_again(disabled)
        # A model that counts its calls is another one after each; that shows when it is checked again.
        self._note(tensors, found, is_settled=self._n_traces == n_traces)
        return found

    def __call__(self, tensors: list[Any]) -> Sequence[torch.Tensor]:
        """Call the function, of which all but the tensors is as when it was checked last."""
        direct, args = self._direct, self._args
        if direct is None:
            return self.checked(tensors)
        for place, i in self._places:
            args[place] = tensors[i]
        with torch.no_grad():
            found: Sequence[torch.Tensor] = direct(*args)
        return found

    def _lower(self, graph: torch.fx.GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
        self._n_traces += 1
        if self._n_traces > MAX_TRACES:
            raise NotCompiledError(
                f"it was compiled {MAX_TRACES} times, and what a model, a loss or a batch brings "
                "changed each time"
            )
        code = machine_code(graph, examples)

        def run(*args: Any) -> Any:
            if self._forbidden.intersection(map(id, args)):
                raise NotCompiledError("a loss or a model holds a parameter apart from its module")
            self._runs = True
            outputs = code(*args)
            self._runs = False
            self._seen = code, list(args), outputs
            return outputs

        return run

    def _note(self, tensors: list[Any], found: Sequence[torch.Tensor], *, is_settled: bool) -> None:
        """Note how to call the machine code directly, if that is all that the function does."""
        self._direct = None
        if self._seen is None or not is_settled:
            return
        code, args, outputs = self._seen
        if len(found) != len(outputs) or any(a is not b for a, b in zip(found, outputs, strict=True)):
            return  # there is more to do around it, such as an attribute to set
        if not all(isinstance(arg, torch.Tensor) for arg in args):
            return
        index = {id(tensor): i for i, tensor in enumerate(tensors) if tensor is not None}
        self._places = [(place, index[id(arg)]) for place, arg in enumerate(args) if id(arg) in index]
        self._direct, self._args = code, args


def _allow_hooks_again(disabled: str | None) -> None:
    """Return to whether autograd takes hooks, as checkpoints of activations are.

    A trace of gradients that breaks off leaves them refused, for everything that runs after it.
    """
    if disabled is None:
        torch._C._autograd._saved_tensors_hooks_enable()


def _reason(error: BaseException) -> str:
    """Return what the compiler says, in a line."""
    while not isinstance(error, NotCompiledError):
        inner = getattr(error, "inner_exception", None) or error.__cause__
        if inner is None:
            break
        error = inner
    if isinstance(error, NotCompiledError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [lines[0] if lines else type(error).__name__]
    told += [line.partition(":")[2].strip() for line in lines if line.startswith("Explanation:")]
    return f"torch's compiler says: {': '.join(told)[:300].rstrip('.')}"
