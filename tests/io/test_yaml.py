"""YAML files: the tree of a `.mml` file as text, and no more than that."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from modularml.base.errors import FileFormatError, InvalidTypeError, UnknownNameError
from modularml.io.yaml import load_yaml, save_yaml

TREE = {
    "$type": "X",
    "numbers": [1, -2.5, 1e-300, float("inf"), True, None],
    "looks like": ["2024-01-01", "yes", "1e3", "0x10", "~", "", "a: b", "ünï\n #x"],
    "tuple": (1, (2, "3")),
    "path": Path("a/b"),
}


def test_a_tree_comes_back(tmp_path: Path) -> None:
    path = save_yaml(tmp_path / "tree.yaml", TREE)
    assert load_yaml(path) == TREE
    assert path.read_text(encoding="utf-8").splitlines()[0] == "$type: X"
    with pytest.raises(FileExistsError):
        save_yaml(path, TREE)
    save_yaml(path, [1], overwrite=True)
    assert load_yaml(path) == [1]


def test_arrays_have_no_place_in_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="arrays"):
        save_yaml(tmp_path / "a.yaml", {"x": np.zeros(3)})
    assert not (tmp_path / "a.yaml").exists()
    nodes = [{"label": "net"}, {"label": "forest", "model": {"model": Ridge()}}]
    with pytest.raises(
        InvalidTypeError, match=r"no arrays and estimators: 'forest', model.model. A file does; use save\(\)"
    ):
        save_yaml(tmp_path / "a.yaml", {"label": "graph", "nodes": nodes})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [1", FileFormatError),
        ("!!python/object/apply:os.getcwd []", FileFormatError),
        ("$array: x", FileFormatError),
        ("{$symbol: f, module: nowhere, source: ''}", UnknownNameError),
        ("\udcff", FileFormatError),
    ],
    ids=["cut", "code", "array", "symbol", "bytes"],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, error: type[Exception]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(error):
        load_yaml(path)


def test_a_missing_package_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    do: Any = (lambda: save_yaml(tmp_path / "a", 1), lambda: load_yaml(tmp_path / "a"))
    for work in do:
        with pytest.raises(ImportError, match=r'pip install "modularml-jupyter\[yaml\]"'):
            work()
