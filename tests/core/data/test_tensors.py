"""Torch datasets in and out: the same rows, whichever way they are asked for."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, Subset, TensorDataset

from modularml.base.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.core.data.featureset import FeatureSet


@pytest.mark.parametrize("rows", [range(60), range(10, 40), [7, 3, 3, 50]], ids=["all", "run", "some"])
def test_every_way_of_asking_gives_the_same_rows(fs: FeatureSet, rows: Any) -> None:
    view = fs.take(rows)
    dataset = view.to_torch_dataset(features=["voltage", "current"])
    assert isinstance(dataset, Dataset) and len(dataset) == len(rows)
    expected = view.get_features("torch", features=["voltage", "current"]), view.get_targets("torch")
    everything = list(range(len(rows)))
    batches = DataLoader(dataset, batch_size=7)
    whole = DataLoader(
        dataset, sampler=BatchSampler(SequentialSampler(dataset), 7, drop_last=False), batch_size=None
    )
    for part in (0, 1):
        assert torch.equal(dataset[everything][part], expected[part])
        assert torch.equal(torch.stack([dataset[i][part] for i in everything]), expected[part])
        assert torch.equal(torch.stack([s[part] for s in dataset.__getitems__(everything)]), expected[part])
        assert torch.equal(torch.cat([batch[part] for batch in batches]), expected[part])
        assert torch.equal(torch.cat([batch[part] for batch in whole]), expected[part])
    assert torch.equal(dataset[-1][0], expected[0][-1])
    with pytest.raises(IndexError):
        dataset[len(rows)]


def test_columns_of_any_shape_may_be_kept_apart(fs: FeatureSet) -> None:
    dataset = fs.to_torch_dataset(targets=[], keep_apart=True)
    assert {key: tuple(value.shape) for key, value in dataset[4].items()} == {
        "voltage": (10,),
        "current": (10,),
        "temperature": (),
    }
    assert torch.equal(dataset[[1, 2]]["current"], torch.from_numpy(fs.column("current")[[1, 2]]))
    assert torch.equal(dataset[1:3]["current"], dataset[[1, 2]]["current"])
    with pytest.raises(UnknownNameError, match="'volt'"):
        fs.to_torch_dataset(features="volt")


def test_a_dataset_travels_to_workers(fs: FeatureSet) -> None:
    dataset = fs.take([4, 2]).to_torch_dataset(features="voltage")
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[[0, 1]][0], dataset[[0, 1]][0])


class Rows(Dataset):
    """Samples one at a time, in one of several forms."""

    def __init__(self, form: str, n: int = 6) -> None:
        self.form, self.n = form, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        x, y = torch.full((3,), float(i)), i % 2
        return {"tuple": (x, y), "dict": {"x": x, "y": y, "rest": i}, "array": (x.numpy(), y)}[self.form]


X, Y = torch.arange(6.0)[:, None].repeat(1, 3), torch.arange(6) % 2
SETS = {
    **{form: Rows(form) for form in ("tuple", "dict", "array")},
    "tensors": TensorDataset(X, Y),
    "subset": Subset(TensorDataset(X.flip(0), Y.flip(0)), [5, 4, 3, 2, 1, 0]),
    "subset of rows": Subset(Rows("tuple"), range(6)),
    "list": [(x, y) for x, y in zip(X, Y, strict=True)],
}


@pytest.mark.parametrize("dataset", SETS.values(), ids=SETS)
def test_a_dataset_is_read_as_columns(dataset: Any) -> None:
    fs = FeatureSet.from_torch("T", dataset, "x", "y")
    np.testing.assert_array_equal(fs.column("x"), X.numpy())
    np.testing.assert_array_equal(fs.column("y"), Y.numpy())


def test_what_was_written_out_is_read_back(fs: FeatureSet) -> None:
    dataset = fs.to_torch_dataset(features="voltage", targets="soh")
    again = FeatureSet.from_torch("again", dataset, "voltage", "soh")
    np.testing.assert_array_equal(again.column("voltage")[:, 0], fs.column("voltage"))
    np.testing.assert_array_equal(again.column("soh"), fs.column("soh"))


def test_tensors_of_a_dataset_are_not_copied() -> None:
    assert np.shares_memory(FeatureSet.from_torch("T", SETS["tensors"], "x", "y").column("x"), X.numpy())


def test_wrong_datasets_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"2 parts, and 1 names were given: \['x'\]"):
        FeatureSet.from_torch("T", SETS["tensors"], "x")
    with pytest.raises(InvalidValueError, match="empty"):
        FeatureSet.from_torch("T", Rows("tuple", 0), "x", "y")
    unlike: list[tuple[list[Any], str]] = [
        ([(1, 2), (1,)], "sample 0 has 2 parts, sample 1 has 1 parts"),
        ([{"x": 1}, {"x": 1}, {"y": 1}], r"the keys \['x'\], sample 2 has the keys \['y'\]"),
        ([(1, 2), 3], "sample 1 has 1 parts"),
    ]
    for samples, says in unlike:
        with pytest.raises(InvalidValueError, match=f"'T': The samples of the list differ.*{says}"):
            FeatureSet.from_torch("T", samples, "x", "y")
    with pytest.raises(InvalidTypeError, match="got a int"):
        FeatureSet.from_torch("T", 3, "x")
    with pytest.raises(UnknownNameError, match="'z'"):
        FeatureSet.from_torch("T", Rows("dict"), "z")


def test_arrays_come_in_whole_or_by_column() -> None:
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    whole = FeatureSet.from_numpy("A", x, y)
    assert np.shares_memory(whole.column("x"), x) and whole.column("y").tolist() == [0, 1, 2, 3]
    apart = FeatureSet.from_numpy("B", x, feature_keys=["a", "b", "c"])
    np.testing.assert_array_equal(apart.get_features("numpy"), x)
    with pytest.raises(InvalidValueError, match=r"\(4, 3\).*2 keys \['a', 'b'\]"):
        FeatureSet.from_numpy("C", x, feature_keys=["a", "b"])


def test_a_loader_is_told_from_its_dataset() -> None:
    loader = DataLoader(SETS["tensors"])
    with pytest.raises(InvalidTypeError, match=r"got a DataLoader. Hand over its dataset: loader.dataset"):
        FeatureSet.from_torch("T", loader, "x", "y")
    assert FeatureSet.from_torch("T", loader.dataset, "x", "y").n_samples == len(X)
