"""What to do about errors of torch whose words do not say it, and about what torch says nothing of.

It knows no phase and no batch: an error is handed in, and keeps its type and its words.
"""

from __future__ import annotations

from torch import nn

_ADVICE = {
    "Expected more than 1 value per channel": (
        "A batch has one sample alone, of which a BatchNorm cannot take means. Let the sampler leave out a "
        "short last batch, SimpleSampler(batch_size=..., drop_last=True), or choose another batch_size."
    ),
    "all elements of input should be between 0 and 1": (
        "The loss 'bce' takes probabilities. Use 'bce_with_logits' for other outputs, or let the model "
        "end with nn.Sigmoid()."
    ),
    "index out of range in self": (
        "An embedding was asked for a row that it does not have: num_embeddings must be larger than every "
        "value of the features that reach it, and none may be negative."
    ),
}


_TAKES_LOGITS = {"cross_entropy": nn.Softmax, "ce": nn.Softmax, "bce_with_logits": nn.Sigmoid}


def done_twice(loss: str, module: object) -> str | None:
    """Return what is wrong where a module ends with what its loss does once more; None where it does not.

    Args:
        loss: The short name of the loss.
        module: The module that was handed over; only the end of an `nn.Sequential` is looked at.
    """
    last = module
    while isinstance(last, nn.Sequential):
        last = last[-1] if len(last) else None
    kind = _TAKES_LOGITS.get(loss)
    if kind is None or not isinstance(last, kind):
        return None
    name = kind.__name__
    return f"it takes logits and applies {name} itself, and the model ends with {name}(); leave that out."


def advise(error: BaseException) -> None:
    """Add a note to an error that is known."""
    told = str(error)
    for words, advice in _ADVICE.items():
        if words in told:
            error.add_note(advice)
