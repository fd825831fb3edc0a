"""Scalers of every origin: fitted, applied, inverted, copied and stored alike."""

from typing import Any, Self

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, StandardScaler

from modularml.base.config import from_config, to_config
from modularml.base.errors import InvalidTypeError, InvalidValueError, StateError
from modularml.scalers import Scaler, scaler_registry, supported_scalers

KWARGS: dict[str, dict[str, Any]] = {
    "SegmentedScaler": {"boundaries": (3,), "scaler": "MinMaxScaler"},
    "QuantileTransformer": {"n_quantiles": 20},
}
NOT_INVERTIBLE = {"Normalizer"}


def data() -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (40, 6))


@pytest.mark.parametrize("name", list(supported_scalers))
class TestEveryScaler:
    def test_it_is_inverted(self, name: str) -> None:
        scaler, X = Scaler(name, KWARGS.get(name)), data()
        scaled = scaler.fit_transform(X.copy())
        assert scaled.shape == X.shape
        if name in NOT_INVERTIBLE:
            with pytest.raises(NotImplementedError, match=name):
                scaler.inverse_transform(scaled)
        else:
            np.testing.assert_allclose(scaler.inverse_transform(scaled), X, atol=1e-9)

    def test_it_does_not_change_what_it_scales(self, name: str) -> None:
        X = data()
        Scaler(name, KWARGS.get(name)).fit_transform(X)
        assert np.array_equal(X, data())

    def test_a_file_gives_back_the_fitted_scaler(self, name: str, tmp_path: Any) -> None:
        scaler = Scaler(name.upper(), KWARGS.get(name)).fit(data()[:30])
        scaled = scaler.transform(data())
        path = scaler.save(tmp_path / "mine")
        assert path.name == "mine.sc.mml"
        restored = Scaler.load(path)
        assert restored == scaler and restored.is_fitted
        assert np.array_equal(restored.transform(data()), scaled)
        if name not in NOT_INVERTIBLE:
            np.testing.assert_array_equal(
                restored.inverse_transform(scaled), scaler.inverse_transform(scaled)
            )

    def test_a_clone_has_learnt_nothing(self, name: str) -> None:
        clone = Scaler(name, KWARGS.get(name)).fit(data()).clone_unfitted()
        with pytest.raises(StateError, match="not fitted"):
            clone.transform(data())
        with pytest.raises((StateError, NotImplementedError)):
            clone.inverse_transform(data())
        assert clone.get_state() == {"is_fitted": False, "learnt": None}


class Halver:
    """A scaler of a user's own."""

    def __init__(self, by: float = 2.0) -> None:
        self.by = by

    def fit(self, X: np.ndarray) -> Self:
        self.mean = X.mean()
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return (X - self.mean) / self.by


def test_a_scaler_of_a_user_is_kept_by_class_and_state() -> None:
    scaler = Scaler(Halver(4.0))
    assert (scaler.scaler, scaler.scaler_kwargs, scaler.scaler_name) == (Halver, {"by": 4.0}, "Halver")
    scaled = scaler.fit_transform(data())
    restored: Scaler = from_config(to_config(scaler))
    restored.set_state(scaler.get_state())
    assert np.array_equal(restored.transform(data()), scaled)
    with pytest.raises(NotImplementedError, match="Halver"):
        scaler.inverse_transform(scaled)


def test_names_classes_and_objects_are_the_same() -> None:
    by_name = Scaler("standardscaler", {"with_mean": False})
    assert by_name.scaler == "StandardScaler"
    assert Scaler(StandardScaler, {"with_mean": False}) == by_name
    assert Scaler(StandardScaler(with_mean=False)).scaler_kwargs["with_mean"] is False
    assert Scaler(by_name) == Scaler(StandardScaler(with_mean=False))


def test_a_fitted_object_is_copied_and_stays_fitted() -> None:
    fitted = StandardScaler().fit(data())
    scaler = Scaler(fitted)
    assert np.array_equal(scaler.transform(data()), fitted.transform(data()))
    scaler.fit(data() * 5)
    assert not np.array_equal(scaler.transform(data()), fitted.transform(data()))


@pytest.mark.parametrize(
    ("scaler", "kwargs", "error", "says"),
    [
        ("StandadScaler", None, InvalidValueError, "Did you mean 'StandardScaler'"),
        ("StandardScaler", {"mean": True}, InvalidValueError, "mean"),
        (StandardScaler(), {"with_mean": True}, InvalidTypeError, "made already"),
        (3, None, InvalidTypeError, "no fit and no transform"),
        (dict, None, InvalidTypeError, "StandardScaler"),
    ],
)
def test_what_is_no_scaler_is_refused(scaler: Any, kwargs: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Scaler(scaler, kwargs)


def test_the_registry_knows_classes_of_users() -> None:
    scaler_registry["Halver"] = Halver
    try:
        assert Scaler("halver", {"by": 3.0}).scaler == "Halver"
        assert dict(scaler_registry.items())["Halver"] is Halver
        assert StandardScaler in scaler_registry.values()
        assert "Halver" in supported_scalers and "Halver" in Scaler.get_supported_scalers()
    finally:
        del scaler_registry["Halver"]


def test_what_takes_labels_gets_the_one_column_one_dimensional(tmp_path: Any) -> None:
    labels = np.array(["well", "ill", "well"])
    scaler = Scaler(LabelEncoder()).fit(labels[:, None])
    restored = Scaler.load(scaler.save(tmp_path / "labels"))
    for one in (scaler, scaler.clone_unfitted().fit(labels[:, None]), restored):
        assert one.transform(labels[:, None]).tolist() == [[1], [0], [1]]
        assert one.inverse_transform(np.array([[1], [0]])).tolist() == [["well"], ["ill"]]


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: make_pipeline(one, TruncatedSVD(2))])
def test_what_takes_texts_does_so_also_as_the_first_step_of_a_pipeline(wrap: Any, tmp_path: Any) -> None:
    texts = np.array(["a cat", "a dog", "no cat", "cat and dog"])
    made = wrap(TfidfVectorizer()).fit_transform(texts)
    scaler = Scaler(wrap(TfidfVectorizer())).fit(texts[:, None])
    expected = made.toarray() if hasattr(made, "toarray") else made
    np.testing.assert_allclose(abs(scaler.transform(texts[:, None])), abs(expected), atol=1e-12)
    restored = Scaler.load(scaler.save(tmp_path / "texts"))
    assert np.array_equal(restored.transform(texts[:, None]), scaler.transform(texts[:, None]))
