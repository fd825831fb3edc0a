"""What holds for every splitter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold

from modularml.base.config import from_config, to_config
from modularml.base.errors import FileFormatError, UnknownNameError
from modularml.samplers import SimpleSampler
from modularml.splitters import (
    ConditionSplitter,
    RandomSplitter,
    SklearnSplitter,
    Splitter,
    splitter_registry,
)

EXAMPLES = [
    RandomSplitter({"a": 0.5, "b": 0.5}, group_by="cell"),
    ConditionSplitter(a={"kind": 0}, b={"kind": [1, 2]}),
    SklearnSplitter(KFold(2)),
]


def test_every_splitter_is_registered_and_has_an_example() -> None:
    assert set(splitter_registry) == {type(example).__name__ for example in EXAMPLES}
    assert splitter_registry["randomsplitter"] is RandomSplitter
    with pytest.raises(UnknownNameError, match="Did you mean 'RandomSplitter'"):
        splitter_registry["RandmSplitter"]


@pytest.mark.parametrize("splitter", EXAMPLES, ids=repr)
def test_rows_are_positions_and_config_repeats_them(cells: Any, splitter: Splitter) -> None:
    parts = splitter.split(cells, return_views=False)
    again = from_config(to_config(splitter)).indices(cells)
    for name, rows in parts.items():
        assert rows.dtype == np.int64
        assert rows.tolist() == again[name].tolist()


@pytest.mark.parametrize("splitter", EXAMPLES, ids=repr)
def test_a_file_gives_back_the_splitter(cells: Any, splitter: Splitter, tmp_path: Path) -> None:
    path = splitter.save(tmp_path / "mine")
    assert path.name == "mine.sp.mml"
    expected = {n: r.tolist() for n, r in splitter.indices(cells).items()}
    for loaded in (Splitter.load(path), Splitter.from_yaml(splitter.to_yaml(tmp_path / "mine.yaml"))):
        assert {n: r.tolist() for n, r in loaded.indices(cells).items()} == expected


def test_a_file_of_another_class_is_refused(tmp_path: Path) -> None:
    splitter = RandomSplitter({"a": 0.5, "b": 0.5})
    path, text = splitter.save(tmp_path / "s"), splitter.to_yaml(tmp_path / "s.yaml")
    for read in (lambda: ConditionSplitter.load(path), lambda: ConditionSplitter.from_yaml(text)):
        with pytest.raises(FileFormatError, match="holds a RandomSplitter, not a ConditionSplitter"):
            read()
    with pytest.raises(FileFormatError, match="holds a dict, not a RandomSplitter"):
        RandomSplitter.from_yaml(SimpleSampler(batch_size=3).to_yaml(tmp_path / "sampler.yaml"))
