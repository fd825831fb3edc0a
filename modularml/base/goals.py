"""Which end of a number is the better one, told from its name.

It knows no metric and no loss: those that know better of themselves say so where they are.
"""

from __future__ import annotations

import re

MAX, MIN = "max", "min"

_SCORES = (
    "acc accuracy auc auroc auprc ap map f1 fbeta precision recall sensitivity specificity r2 d2 iou dice "
    "jaccard score corr corrcoef correlation pearson pearsonr spearman spearmanr kappa mcc ndcg psnr ssim "
    "bleu rouge homogeneity completeness explained likelihood"
)
_ERRORS = (
    "loss losses error err mse rmse mae mape msle rmsle nll bce ce crossentropy entropy hinge huber brier "
    "deviance divergence perplexity distance wer cer"
)
_GREATER, _SMALLER = frozenset(_SCORES.split()), frozenset(_ERRORS.split())


def goal_of_name(name: str) -> str | None:
    """Return ``"max"`` for what is called as a score, ``"min"`` for a loss or an error, None for neither.

    Where a name says both the last word counts (``"log_loss_score"``), but for scikit-learn's
    ``neg_...``, which are all the better the greater they are.

    Example:
        >>> goal_of_name("val_accuracy"), goal_of_name("MeanSquaredError"), goal_of_name("width")
        ('max', 'min', None)
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = re.split(r"[^a-z0-9]+", apart.lower())
    if "neg" in words:
        return MAX
    said = next((word for word in reversed(words) if word in _GREATER | _SMALLER), None)
    return None if said is None else MAX if said in _GREATER else MIN
