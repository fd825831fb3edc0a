"""Metrics by name agree with scikit-learn on every form that outputs of classifiers have."""

import warnings

import numpy as np
import pytest
import torchmetrics
from sklearn import metrics

from modularml.backends import scorers
from modularml.base.errors import InvalidValueError, ModularMLWarning

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((40, 1, 3)).astype(np.float32)
CLASSES = RNG.integers(0, 3, (40, 1))
BINARY = RNG.integers(0, 2, (40, 1))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_regressions() -> None:
    outputs, targets = RNG.standard_normal((2, 30, 1, 2))
    flat = outputs.reshape(30, 2), targets.reshape(30, 2)
    assert scorers.score("r2", outputs, targets) == pytest.approx(metrics.r2_score(flat[1], flat[0]))
    error = metrics.mean_absolute_error(flat[1], flat[0])
    assert scorers.score("neg_mean_absolute_error", outputs, targets) == pytest.approx(-error)
    one = metrics.r2_score(flat[1][:, 0], flat[0][:, 0])
    assert scorers.score("r2", outputs[:, 0, :1], targets[:, 0, 0]) == pytest.approx(one)


@pytest.mark.parametrize("outputs", [LOGITS, softmax(LOGITS.astype(np.float64))])
def test_one_column_a_class(outputs: np.ndarray) -> None:
    predicted = outputs.reshape(40, 3).argmax(1)
    for targets in (CLASSES, CLASSES.astype(np.float32), np.eye(3)[CLASSES[:, 0]]):
        assert scorers.score("accuracy", outputs, targets) == metrics.accuracy_score(CLASSES, predicted)
        f1 = metrics.f1_score(CLASSES, predicted, average="macro")
        assert scorers.score("f1_macro", outputs, targets) == pytest.approx(f1)
    probabilities = softmax(LOGITS.astype(np.float64)).reshape(40, 3)
    loss = metrics.log_loss(CLASSES, probabilities)
    assert scorers.score("neg_log_loss", outputs, CLASSES) == pytest.approx(-loss, rel=1e-4)
    auc = metrics.roc_auc_score(CLASSES[:, 0], probabilities, multi_class="ovr")
    assert scorers.score("roc_auc_ovr", outputs, CLASSES) == pytest.approx(auc)


@pytest.mark.parametrize("as_logits", [True, False])
def test_one_column_for_two_classes(as_logits: bool) -> None:
    logits = RNG.standard_normal((40, 1))
    outputs = logits if as_logits else 1 / (1 + np.exp(-logits))
    predicted = (logits > 0).astype(int)
    assert scorers.score("accuracy", outputs, BINARY) == metrics.accuracy_score(BINARY, predicted)
    assert scorers.score("f1", outputs, BINARY) == pytest.approx(metrics.f1_score(BINARY, predicted))
    auc = metrics.roc_auc_score(BINARY[:, 0], logits[:, 0])
    assert scorers.score("roc_auc", outputs, BINARY) == pytest.approx(auc)


@pytest.mark.parametrize("as_logits", [True, False])
def test_two_columns_for_two_classes(as_logits: bool) -> None:
    logits = RNG.standard_normal((40, 1, 2))
    outputs, second = (logits if as_logits else softmax(logits)), softmax(logits)[:, 0, 1]
    for name, expected in (
        ("roc_auc", metrics.roc_auc_score(BINARY[:, 0], second)),
        ("average_precision", metrics.average_precision_score(BINARY[:, 0], second)),
        ("f1", metrics.f1_score(BINARY, second > 0.5)),
    ):
        assert scorers.score(name, outputs, BINARY) == pytest.approx(expected)


@pytest.mark.parametrize("as_logits", [True, False])
def test_samples_that_may_have_several_labels(as_logits: bool) -> None:
    logits = RNG.standard_normal((40, 1, 3))
    outputs = logits if as_logits else 1 / (1 + np.exp(-logits))
    targets = RNG.integers(0, 2, (40, 1, 3))
    known, scores = targets[:, 0], logits[:, 0]
    for name, expected in (
        ("accuracy", metrics.accuracy_score(known, scores > 0)),
        ("f1_macro", metrics.f1_score(known, scores > 0, average="macro", zero_division=0)),
        ("f1_samples", metrics.f1_score(known, scores > 0, average="samples", zero_division=0)),
        ("roc_auc", metrics.roc_auc_score(known, scores)),
        ("average_precision", metrics.average_precision_score(known, scores)),
    ):
        for given in (targets, targets.astype(np.float32)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of samples without a label
                assert scorers.score(name, outputs, given) == pytest.approx(expected)


def test_samples_that_torch_ignores_do_not_count() -> None:
    for name in ("accuracy", "f1_macro", "neg_log_loss"):
        counted = scorers.score(name, LOGITS[10:], CLASSES[10:])
        targets = np.concatenate([np.full((10, 1), -100), CLASSES[10:]])
        assert scorers.score(name, LOGITS, targets) == counted
    few = np.concatenate([np.full((10, 1), -100), CLASSES[10:] % 2])  # as many labels as outputs
    assert scorers.score("accuracy", LOGITS, few) == scorers.score("accuracy", LOGITS[10:], few[10:])
    scorers.check("f1", np.concatenate([np.full((10, 1), -100), BINARY]))
    labels = np.where(BINARY, -100, 100)  # of an estimator, to which they are classes like any other
    assert scorers.score("accuracy", labels, labels) == 1


def test_numbers_that_are_no_labels_of_several_classes_are_told() -> None:
    with pytest.raises(InvalidValueError, match=r"outputs of one number a sample, e\.g\. 0\.5, are none"):
        scorers.score("accuracy", np.full((40, 1), 0.5), CLASSES)


def test_targets_of_several_numbers_that_are_no_shares_are_told() -> None:
    with pytest.raises(InvalidValueError, match="targets of 2 numbers a sample are neither one class each"):
        scorers.score("accuracy", RNG.standard_normal((40, 3, 2)), np.repeat(CLASSES, 2, axis=1))


def test_labels_that_a_classifier_predicted_and_names_of_classes() -> None:
    predicted = RNG.integers(5, 8, (40, 1))
    targets = RNG.integers(5, 8, (40, 1))
    expected = metrics.accuracy_score(targets, predicted)
    assert scorers.score("accuracy", predicted, targets) == expected
    probabilities = np.eye(3)[predicted[:, 0] - 5]
    assert scorers.score("accuracy", probabilities, targets) == expected


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_labels_in_the_place_of_scores_are_warned_of(dtype: type) -> None:
    predicted = (BINARY ^ (RNG.random((40, 1)) < 0.2)).astype(dtype)
    with pytest.warns(ModularMLWarning, match=r"'roc_auc' ranks .*output_method='predict_proba'"):
        assert scorers.score("roc_auc", predicted, BINARY) == metrics.roc_auc_score(BINARY, predicted)
    with pytest.warns(ModularMLWarning, match="'neg_log_loss' ranks or weighs scores"):
        scorers.score("neg_log_loss", predicted, BINARY)
    scorers.score("f1", predicted, BINARY)
    scorers.score("roc_auc", predicted * 0.9, BINARY)


def test_what_cannot_be_compared_is_told_with_its_shapes() -> None:
    with pytest.raises(InvalidValueError, match="'accuracy' compares classes, and targets are no whole"):
        scorers.score("accuracy", LOGITS, RNG.standard_normal((40, 1)))
    with pytest.raises(InvalidValueError, match=r"'r2' cannot be computed of outputs \(40, 1, 3\)"):
        scorers.score("r2", LOGITS, RNG.standard_normal((40, 2)))


OF_TWO_CLASSES = ("f1", "precision", "recall", "jaccard", "roc_auc", "positive_likelihood_ratio")


@pytest.mark.parametrize("name", scorers.names())
def test_a_scorer_is_refused_before_there_are_outputs_where_it_refuses_any(name: str) -> None:
    try:
        scorers.check(name, CLASSES)
    except InvalidValueError:
        with pytest.raises(InvalidValueError):
            scorers.score(name, LOGITS, CLASSES)
    else:
        assert name not in OF_TWO_CLASSES
    scorers.check(name, BINARY) if not name.endswith("_samples") else None


def test_a_scorer_of_two_classes_names_those_for_several() -> None:
    others = "For several classes there are 'f1_macro', 'f1_micro', 'f1_weighted'.$"
    with pytest.raises(InvalidValueError, match=f"The metric 'f1' .* targets of several classes: .*{others}"):
        scorers.check("f1", CLASSES)
    with pytest.raises(InvalidValueError, match="there are 'roc_auc_ovo', .*'roc_auc_ovr'"):
        scorers.check("roc_auc", np.eye(3)[CLASSES[:, 0]])  # one column a class
    with pytest.raises(InvalidValueError, match=others):
        scorers.score("f1", LOGITS, CLASSES)
    with pytest.raises(InvalidValueError, match="'accuracy' compares classes, and targets are no whole"):
        scorers.check("accuracy", RNG.standard_normal((40, 1)))


def test_objects_of_torchmetrics() -> None:
    outputs, targets = RNG.standard_normal((2, 30, 1, 1)).astype(np.float32)
    metric = torchmetrics.R2Score()
    for _ in range(2):  # nothing is left of the first time
        expected = metrics.r2_score(targets.ravel(), outputs.ravel())
        assert scorers.computed(metric, outputs, targets) == pytest.approx(expected, rel=1e-4)
    accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=3, average="micro")
    expected = metrics.accuracy_score(CLASSES, LOGITS.reshape(40, 3).argmax(1))
    assert scorers.computed(accuracy, LOGITS, CLASSES.astype(np.float32)) == pytest.approx(expected)
    assert scorers.is_torchmetric(metric) and not scorers.is_torchmetric(print)
