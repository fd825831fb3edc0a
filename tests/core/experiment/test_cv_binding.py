from itertools import combinations

import numpy as np
import pytest
from sklearn.model_selection import KFold, LeaveOneGroupOut, RepeatedKFold

from modularml import (
    AppliedLoss,
    CrossValidation,
    CVBinding,
    InputBinding,
    Loss,
    ModelGraph,
    ModelNode,
    Optimizer,
    TrainPhase,
)
from modularml.base.errors import InvalidValueError
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler
from modularml.splitters import RandomSplitter


def groups(rows):
    return set((rows // 4).tolist())


@pytest.mark.parametrize("stratify_by", [None, "class"])
@pytest.mark.parametrize("val_size", [None, 0.3])
def test_groups_stay_together(study, watched, stratify_by, val_size):
    study.data.clear_splits()
    study.data.split_random({"train": 0.75, "val": 0.25}, group_by="group")
    binding = study.binding(group_by="group", stratify_by=stratify_by, val_size=val_size)
    _, seen = watched(study, binding=binding, n_folds=3)
    for rows, _, _ in seen:
        assert not groups(rows["train"]) & groups(rows["val"])


def test_strata_keep_their_shares(study, watched):
    share = study.data.get_tags(tags="class", fmt="dict")["class"].mean()
    _, seen = watched(study, binding=study.binding(stratify_by="class"), n_folds=4)
    for rows, _, _ in seen:
        of_fold = study.data.take(rows["val"]).get_tags(tags="class", fmt="dict")["class"].mean()
        assert abs(of_fold - share) < 0.1


def test_val_size_draws_for_each_fold_anew(study, watched):
    _, seen = watched(study, binding=study.binding(val_size=0.25), n_folds=3)
    vals = [frozenset(rows["val"].tolist()) for rows, _, _ in seen]
    assert {len(val) for val in vals} == {24} and len(set(vals)) == 3


@pytest.mark.parametrize(
    ("splitter", "binding", "n_folds"),
    [
        (KFold(3), {}, 3),
        (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), {}, 6),
        (LeaveOneGroupOut(), {"group_by": "class"}, 2),
    ],
)
def test_any_splitter_of_scikit_learn_divides(study, watched, splitter, binding, n_folds):
    results, seen = watched(study, binding=study.binding(**binding), splitter=splitter)
    assert results.n_folds == len(seen) == n_folds
    for rows, _, _ in seen:
        assert not set(rows["train"]) & set(rows["val"])


def test_two_featuresets_of_equal_length_are_divided_alike(study):
    twin = study.data.copy(label="twin", restore_splits=True, register=True)
    bindings = [study.binding(), CVBinding(twin, ["train", "val"])]
    study.exp.execution_plan.clear()
    study.exp.ctx.remove_model_graph()
    other = ModelNode("other", SequentialMLP(hidden_dim=3), twin.reference(rep="raw"))
    ModelGraph([study.node, other], Optimizer("sgd", opt_kwargs={"lr": 0.1}), "both").build()
    sampler = SimpleSampler(batch_size=16)
    sources = [
        InputBinding.for_training(node=node, sampler=sampler, split="train") for node in ("net", "other")
    ]
    losses = [
        AppliedLoss(Loss("mse"), on=node, inputs=["outputs", "targets"], label=node)
        for node in ("net", "other")
    ]
    phase = TrainPhase("train", input_sources=sources, losses=losses)
    cv = CrossValidation(bindings=bindings, phase=phase, n_folds=3)
    for fold in cv.parts():
        assert np.array_equal(fold.rows[0].val, fold.rows[1].val)
    assert cv.run().n_folds == 3


def test_pairs_of_folds_of_k_are_disjoint(study):
    vals = [set(fold.rows[0].val) for fold in study.cv(n_folds=4).parts()]
    assert all(not a & b for a, b in combinations(vals, 2))


def test_a_splitter_that_makes_no_pairs_is_refused(study):
    thirds = RandomSplitter({"a": 0.4, "b": 0.3, "c": 0.3})
    with pytest.raises(InvalidValueError, match="'CV': RandomSplitter.* makes 3 parts; a fold is one"):
        study.cv(splitter=thirds).parts()
