"""Samples taken out: every format says the same, and lengths are held together."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from modularml.base.errors import InvalidValueError, UnknownNameError
from modularml.core.data.batch import Batch, RoleData, SampleData, SampleShapes
from modularml.core.data.featureset import FeatureSet


def apart() -> SampleData:
    features = {"a": np.arange(4.0), "b": np.arange(4.0) * 2}
    return SampleData(features=features, targets=np.ones((4, 1)), tags={"t": np.array(list("wxyz"))})


@pytest.mark.parametrize("fmt", ["numpy", "torch", "list"])
@pytest.mark.parametrize("first", ["dict", "dict_numpy", "dict_torch", "dict_list"])
def test_formats_lead_to_one_another(fs: FeatureSet, first: str, fmt: str) -> None:
    view = fs.take([5, 2, 9])
    chosen: dict[str, Any] = {"features": ["voltage", "current"]}
    straight = view.to_sample_data(fmt, **chosen)
    detour = view.to_sample_data(first, **chosen).to_format(fmt)
    assert type(detour.features) is type(straight.features)
    np.testing.assert_array_equal(np.asarray(detour.features), np.asarray(straight.features))
    np.testing.assert_array_equal(
        np.asarray(straight.to_format("numpy").features),
        view.get_features("numpy", features=["voltage", "current"]),
    )


def test_a_view_gives_its_values_by_domain(fs: FeatureSet) -> None:
    data = fs.take([3, 1]).to_sample_data(features="voltage")
    assert data.shapes == SampleShapes((1, 10), (2,), {"cell": (), "day": (), "ok": ()})
    assert data.tags["cell"].tolist() == ["cell 3", "cell 1"]
    assert data.sample_uuids.tolist() == fs.get_sample_uuids()[[3, 1]].tolist()
    assert len(data) == data.n_samples == 2
    assert repr(data).startswith("SampleData(n_samples=2, features=(1, 10), targets=(2,)")
    with pytest.raises(InvalidValueError, match="sample shapes"):
        fs.to_sample_data()


def test_columns_side_by_side_have_lost_their_names() -> None:
    with pytest.raises(InvalidValueError, match="lost their names.*'dict_numpy'"):
        SampleData(features=np.zeros((2, 1))).to_format("dict_numpy")


def test_in_place_and_copies() -> None:
    data = apart()
    there = data.to_backend("torch")
    assert isinstance(there.features["a"], torch.Tensor) and isinstance(data.features["a"], np.ndarray)
    assert there.tags["t"] is data.tags["t"]
    assert data.as_backend("torch") is data and isinstance(data.targets, torch.Tensor)
    assert data.as_format("numpy") is data and data.features.shape == (4, 2)


def test_gradients_go_on_until_they_are_cut_off() -> None:
    x = torch.ones((3, 1), requires_grad=True)
    data = SampleData(features=x * 2, kind="output").to_format("torch")
    assert data.outputs.requires_grad and data.outputs is data.features
    assert SampleData.concat(data, data).features.requires_grad
    assert data.detach_tensors() is data and not data.outputs.requires_grad
    assert data.to_format("list").features == [[2.0]] * 3


def test_only_outputs_have_outputs() -> None:
    with pytest.raises(AttributeError, match="kind 'input'"):
        apart().outputs  # noqa: B018


@pytest.mark.parametrize("fmt", ["dict_numpy", "dict_torch", "numpy", "torch", "list"])
def test_joining_parts_is_taking_all(fs: FeatureSet, fmt: str) -> None:
    parts = [fs.take(rows).to_sample_data(fmt, features="voltage") for rows in ([0, 1], [2], [3, 4])]
    whole = fs.take(range(5)).to_sample_data(fmt, features="voltage")
    joined = SampleData.concat(*parts)
    for domain in ("features", "targets", "tags"):
        assert str(getattr(joined, domain)) == str(getattr(whole, domain))
    assert joined.sample_uuids.tolist() == whole.sample_uuids.tolist()
    again = SampleData.concat(*parts, fmt="numpy" if fmt in ("numpy", "torch", "list") else "dict_numpy")
    assert again.n_samples == 5


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="differ in length: features has 2, targets has 3"):
        SampleData(features=[1, 2], targets=[1, 2, 3])
    with pytest.raises(InvalidValueError, match="features has 1, features has 2"):
        SampleData(features={"a": [1], "b": [1, 2]})
    with pytest.raises(InvalidValueError, match="sample_uuids has 1"):
        SampleData(features=[1, 2], sample_uuids=["a"])
    with pytest.raises(InvalidValueError, match="no samples"):
        SampleData()
    with pytest.raises(InvalidValueError, match="different domains"):
        SampleData.concat(apart(), SampleData(features=[1]))
    with pytest.raises(InvalidValueError, match="no samples"):
        SampleData.concat()
    with pytest.raises(UnknownNameError, match="Did you mean 'features'"):
        SampleData({"feature": [1], "features": [1]})
    with pytest.raises(InvalidValueError, match="kind"):
        SampleData(features=[1], kind="both")


def test_one_role_is_its_samples_and_several_are_not() -> None:
    one, two = RoleData({"default": apart()}), RoleData({"anchor": apart(), "pair": apart()})
    assert one.n_samples == 4 and one.targets is one["default"].targets
    assert two.pair is two["pair"] and list(two) == ["anchor", "pair"] and len(two) == 2
    with pytest.raises(AttributeError, match="'features'.*'anchor', 'pair'"):
        two.features  # noqa: B018
    with pytest.raises(UnknownNameError, match="Did you mean 'pair'"):
        two["pairs"]
    assert isinstance(two.to_format("torch").pair.features, torch.Tensor)
    assert copy.deepcopy(two).pair.n_samples == pickle.loads(pickle.dumps(two)).pair.n_samples == 4


def test_a_batch_holds_its_roles_to_one_size() -> None:
    data = RoleData({"default": apart()})
    shapes, ones = {"default": data.shapes}, {"default": np.ones(4)}
    batch = Batch(4, data, shapes, ones, ones)
    assert batch.roles == ("default",) and len(batch) == 4
    assert isinstance(batch.to_backend("torch").role_data.targets, torch.Tensor)
    assert batch.to_format("numpy").role_data.features.shape == (4, 2)
    with pytest.raises(InvalidValueError, match="3 weights, not 4"):
        Batch(4, data, shapes, {"default": np.ones(3)}, ones)
