import re
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from modularml.base.errors import InvalidValueError, StateError
from modularml.base.events import WorkAdvanced
from modularml.core.data.featureset import FeatureSet
from modularml.core.execution.binding import InputBinding
from modularml.core.experiment.phases.fit_phase import FitPhase
from modularml.models import ScikitModelWrapper
from modularml.samplers import SimpleSampler


def fit(**options: Any) -> FitPhase:
    return FitPhase.from_split("fit", split="train", **options)


def test_estimators_are_fitted_on_the_rows_of_the_split_and_frozen(bench: Any) -> None:
    node = bench.node("A", model=Ridge())
    bench.graph(node, optimizer=None)
    bench.exp.run_phase(fit())
    view = bench.fs.get_split("train")
    by_hand = Ridge().fit(view.column("features.x.raw"), view.column("targets.y.raw"))
    assert np.allclose(node.model.estimator.coef_, by_hand.coef_)
    assert node.frozen_by == "fit"


def test_labels_and_estimators_without_targets_are_fitted_too(bench: Any) -> None:
    scaler = bench.node("A", bench.ref(targets="kind"), StandardScaler())
    classifier = bench.node("B", scaler, LogisticRegression())
    bench.graph(scaler, classifier, optimizer=None)
    results = bench.exp.run_phase(fit())
    guessed = results.stacked_tensors("B")[:, 0]
    view = bench.fs.get_split("train")
    scaled = StandardScaler().fit_transform(view.column("features.x.raw"))
    by_hand = LogisticRegression().fit(scaled, view.column("targets.kind.raw")).predict(scaled)
    assert (guessed == by_hand).mean() > 0.95


def test_what_a_fit_froze_is_fitted_again_and_what_a_user_froze_is_not(bench: Any) -> None:
    node = bench.node("A", model=Ridge())
    bench.graph(node, optimizer=None)
    for _ in range(2):
        bench.exp.run_phase(fit())
    node.freeze()
    with pytest.raises(StateError, match=r"FitPhase 'fit': there is nothing to fit; \['A'\] are frozen"):
        bench.exp.run_phase(fit())
    node.unfreeze()
    bench.exp.run_phase(fit(freeze_after_fit=False))
    assert not node.is_frozen


def test_a_phase_that_was_stopped_before_it_began_freezes_nothing(bench: Any) -> None:
    node = bench.node("A", model=Ridge())
    bench.graph(node, optimizer=None)
    bench.drain(fit(), should_stop=lambda: True)
    assert not node.is_frozen
    assert not node.model.is_fitted


def test_torch_models_are_not_for_fitting(bench: Any) -> None:
    bench.graph(bench.node("A", model=nn.Linear(4, 1)))
    with pytest.raises(
        InvalidValueError, match="no active node holds an estimator to fit; torch models are trained"
    ):
        fit()


def test_a_sampler_is_refused_for_rows_would_not_meet_their_targets(bench: Any) -> None:
    bench.graph(bench.node("A", model=Ridge()), optimizer=None)
    sampler = SimpleSampler(batch_size=100, shuffle=True)
    binding = InputBinding.for_training(node="A", sampler=sampler, split="train")
    with pytest.raises(InvalidValueError, match="the binding of 'A' has a sampler"):
        FitPhase("fit", input_sources=[binding])


@pytest.mark.parametrize(
    ("model", "bad", "passes"),
    [
        (HistGradientBoostingRegressor(max_iter=2), np.nan, True),
        (make_pipeline(SimpleImputer(), Ridge()), np.nan, True),
        (SimpleImputer(), np.inf, False),
        (Ridge(), np.nan, False),
    ],
)
def test_nan_is_a_value_to_estimators_that_say_so(bench: Any, model: Any, bad: float, passes: bool) -> None:
    fs = bench.data("Bad")
    fs.table.column("features.x.raw")[fs.get_split("train").rows[0], 0] = bad
    bench.graph(bench.node("A", bench.ref(fs), model), optimizer=None)
    if passes:
        bench.exp.run_phase(fit())
        fs.table.column("targets.y.raw")[fs.get_split("train").rows[0]] = bad
    with pytest.raises(InvalidValueError, match="of split 'train' holds 1 values that are NaN or infinite"):
        bench.exp.run_phase(fit())


@pytest.mark.parametrize("nan", ["warn", "allow"])
def test_a_fit_may_be_left_to_the_estimator(bench: Any, nan: str) -> None:
    fs = bench.data("Bad")
    fs.table.column("targets.y.raw")[fs.get_split("train").rows[0]] = np.nan
    bench.graph(bench.node("A", bench.ref(fs), make_pipeline(SimpleImputer())), optimizer=None)
    phase = FitPhase.from_split("fit", split="train", nan=nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bench.exp.run_phase(phase)
    assert [("targets.y.raw" in str(w.message)) for w in caught] == [True] * (nan == "warn")


def test_what_is_done_about_nan_is_one_of_three(bench: Any) -> None:
    bench.graph(bench.node("A", model=Ridge()), optimizer=None)
    with pytest.raises(InvalidValueError, match="Unknown nan 'rise'.*mean 'raise'"):
        FitPhase.from_split("fit", split="train", nan="rise")


def test_an_estimator_that_learns_bit_by_bit_goes_on_and_others_begin_anew(bench: Any) -> None:
    def wrapped(mode: str) -> ScikitModelWrapper:
        return ScikitModelWrapper(SGDClassifier(random_state=0, max_iter=1, tol=None), training_mode=mode)

    ref = bench.ref(targets="kind")
    nodes = [bench.node(mode, ref, wrapped(mode)) for mode in ("partial_fit", "batch_fit")]
    bench.graph(*nodes, optimizer=None)
    x, rows = bench.fs.table.column("features.x.raw"), bench.fs["train"].rows
    kind = bench.fs.table.column("targets.kind.raw")
    by_hand = SGDClassifier(random_state=0, max_iter=1, tol=None)
    fitted = []
    for _ in range(3):
        bench.exp.run_phase(FitPhase.from_split("fit", split="train"))
        by_hand.partial_fit(x[rows], kind[rows], classes=[0, 1, 2])
        assert np.array_equal(nodes[0].model.estimator.coef_, by_hand.coef_)
        fitted.append(nodes[1].model.estimator.coef_.copy())
    assert all(np.array_equal(one, fitted[0]) for one in fitted)


def test_what_is_being_fitted_is_told_and_how_far_it_is_where_it_can_tell(bench: Any) -> None:
    scaler = bench.node("A", bench.ref(targets="kind"), StandardScaler())
    classifier = bench.node("B", scaler, LogisticRegression())
    bench.graph(scaler, classifier, optimizer=None)
    told: list[Any] = []
    bench.exp.events.subscribe(lambda e: told.append(e) if isinstance(e, WorkAdvanced) else None)
    bench.exp.run_phase(fit())
    assert {(e.path, e.what) for e in told} == {(("fit",), "Fitting")}
    begun = [(e.label, e.fraction) for e in told if e.fraction is None]
    assert begun == [("A", None), ("B", None)]
    shares = [e.fraction for e in told if e.label == "B" and e.fraction is not None]
    assert shares == sorted(shares)
    assert bool(shares) == hasattr(classifier.model.estimator, "set_callbacks")


def weighed(bench: Any, **columns: Any) -> Any:
    """A reference to the bench's data with the weights 0 to 59 as a tag, and other tags."""
    weights = np.arange(60.0)
    table = bench.fs.table
    data = {key: table.column(f"{domain}.{key}.raw") for key, domain in COLUMNS.items()}
    tags = {"w": weights, **columns}
    fs = FeatureSet.from_dict("Weighed", data | tags, "x", list(COLUMNS)[1:], list(tags))
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    return fs.reference(targets="y")


COLUMNS = {"x": "features", "y": "targets", "kind": "targets"}


@pytest.mark.parametrize(
    ("estimator", "argument"),
    [
        pytest.param(Ridge(), "sample_weight", id="ridge"),
        pytest.param(make_pipeline(StandardScaler(), Ridge()), "ridge__sample_weight", id="pipeline"),
        pytest.param(
            GridSearchCV(make_pipeline(PCA(2), Ridge()), {"ridge__alpha": [0.1, 9.0]}, cv=2),
            "ridge__sample_weight",
            id="search",
        ),
        pytest.param(
            VotingRegressor([("a", Ridge()), ("b", LinearRegression())]), "sample_weight", id="vote"
        ),
        pytest.param(MultiOutputRegressor(Ridge()), "sample_weight", id="outputs"),
        pytest.param(TransformedTargetRegressor(Ridge()), "sample_weight", id="target"),
    ],
)
def test_samples_count_in_a_fit_as_much_as_their_weights_say(
    bench: Any, estimator: Any, argument: str
) -> None:
    ref = weighed(bench)
    if isinstance(estimator, MultiOutputRegressor):
        ref = ref.resolve().source.reference(targets=["y", "kind"])
    node = bench.node("A", ref, clone(estimator))
    bench.graph(node, optimizer=None)
    results = bench.exp.run_phase(fit(sample_weight="tags.w"))
    view = node.featureset_refs[0].resolve().source["train"]
    x, w = view.column("features.x.raw"), view.column("tags.w.raw")
    y = np.stack([view.column(name) for name in node.featureset_refs[0].targets], axis=1)
    y = y[:, 0] if y.shape[1] == 1 else y
    own = clone(estimator).fit(x, y, **{argument: w})
    predicted = results.stacked_tensors("A").reshape(y.shape)
    assert np.allclose(predicted, own.predict(x), atol=1e-6)
    assert not np.allclose(predicted, clone(estimator).fit(x, y).predict(x), atol=1e-3)


def test_an_estimator_that_learns_bit_by_bit_takes_weights_too(bench: Any) -> None:
    ref = weighed(bench).resolve().source.reference(targets="kind")
    estimator = SGDClassifier(random_state=0)
    node = bench.node("A", ref, ScikitModelWrapper(clone(estimator), training_mode="partial_fit"))
    bench.graph(node, optimizer=None)
    bench.exp.run_phase(fit(sample_weight="tags.w"))
    view = ref.resolve().source["train"]
    x, kind, w = (view.column(f"{name}.raw") for name in ("features.x", "targets.kind", "tags.w"))
    own = estimator.partial_fit(x, kind, classes=[0, 1, 2], sample_weight=w)
    assert np.array_equal(node.model.estimator.coef_, own.coef_)


def test_estimators_have_weights_of_their_own_and_only_those_that_are_named(bench: Any) -> None:
    ref = weighed(bench, v=np.arange(60.0)[::-1].copy())
    pca = bench.node("A", ref, PCA(2))
    ridge, other = bench.node("B", pca, Ridge()), bench.node("C", pca, LinearRegression())
    bench.graph(pca, ridge, other, optimizer=None)
    phase = fit(sample_weight={ridge: "tags.w", "C": "tags.v"})
    again = FitPhase.from_config(phase.get_config())
    assert phase.get_config()["sample_weight"] == {"B": "tags.w", "C": "tags.v"}
    ridge.label = "D"
    view = ref.resolve().source["train"]
    x, y, w, v = (view.column(f"{name}.raw") for name in ("features.x", "targets.y", "tags.w", "tags.v"))
    reduced = PCA(2).fit_transform(x)
    for one in (phase, again):
        bench.exp.run_phase(one)
        assert np.allclose(ridge.model.estimator.coef_, Ridge().fit(reduced, y, w).coef_, atol=1e-5)
        assert np.allclose(
            other.model.estimator.coef_, LinearRegression().fit(reduced, y, v).coef_, atol=1e-5
        )


def test_weights_that_cannot_be_handed_over_are_told_where_they_are_asked_for(bench: Any) -> None:
    ref = weighed(bench)
    nodes = [
        bench.node("P", ref, PCA(2)),
        bench.node("K", ref, KNeighborsRegressor()),
        bench.node("R", ref, Ridge()),
    ]
    bench.graph(*nodes, optimizer=None)
    for given, told in [
        ("tags.w", "PCA of 'P' takes no sample_weight. Name those that do: sample_weight={'R': 'tags.w'}."),
        ({"K": "tags.w"}, "KNeighborsRegressor of 'K' takes no sample_weight."),
        ({"RR": "tags.w"}, "Unknown node of sample_weight 'RR'. Available: 'P', 'K', 'R'. Did you mean 'R'?"),
        ({"R": "tags.ww"}, "sample_weight of 'R': the input 'tags.ww': Unknown column or role 'ww'."),
        ("w", "A column is named with its domain: 'tags.w'."),
        ({"R": None}, "Unknown input None"),
        ([1.0, 2.0], "Unknown input [1.0, 2.0]"),
    ]:  # fmt: skip
        with pytest.raises(InvalidValueError, match=re.escape(told)) as error:
            fit(sample_weight=given)
        assert "FitPhase 'fit'" in str(error.value)
    phase = fit()
    with pytest.raises(InvalidValueError, match="Unknown node of sample_weight 'Q'"):
        phase.sample_weight = {"Q": "tags.w"}
    with pytest.raises(TypeError, match=r"LogisticRegression\(class_weight='balanced'\)"):
        fit(class_weight="balanced")


def test_columns_that_hold_no_weights_are_told_before_the_fit(bench: Any) -> None:
    wrong = {"odd": np.ones((60, 2)), "less": -np.ones(60), "name": np.array(["a", "b"] * 30)}
    node = bench.node("A", weighed(bench, **wrong), Ridge())
    bench.graph(node, optimizer=None)
    for key, told in [
        ("odd", "sample_weight of 'A': the weights 'tags.odd' must be one number a sample"),
        ("less", "of the weights 'tags.less' 48 of 48 are negative, NaN or infinite"),
        ("name", "sample_weight of 'A': tags of dtype <U1 are no numbers"),
    ]:
        with pytest.raises((ValueError, TypeError), match=told):
            bench.exp.run_phase(fit(sample_weight=f"tags.{key}"))
    assert not node.model.is_fitted


def test_what_an_estimator_raises_is_told_with_its_node_and_what_it_was_handed(bench: Any) -> None:
    by_name = make_pipeline(ColumnTransformer([("a", StandardScaler(), ["a"])]), Ridge())
    data = {"a": np.arange(60.0), "b": np.ones(60), "y": np.ones(60)}
    fs = FeatureSet.from_dict("Named", data, ["a", "b"], "y")
    fs.split_random({"train": 0.8, "test": 0.2}, seed=3)
    bench.graph(bench.node("A", fs, by_name), optimizer=None)
    with pytest.raises(ValueError, match="only supported for dataframes") as error:
        bench.exp.run_phase(fit())
    told = "ModelNode('A') was fitted to an array of samples (48, 2), whose columns are, in order, 'a', 'b'"
    assert any(note.startswith(f"{told} and targets (48,") for note in error.value.__notes__)
