"""A folder is a layer and imports point down: the contracts of pyproject.toml, and that they bite."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "modularml").rglob("*.py"))


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "modularml", tmp_path / "modularml", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_point_down() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("base/errors.py", "import modularml.io"),
        ("display/environment.py", "from modularml import io"),
        ("models/__init__.py", "def f():\n    import modularml.core"),
        ("core/context.py", "import modularml.core.experiment"),
    ],
    ids=["upward", "sideways", "upward-in-a-function", "upward-within-core"],
)
def test_a_planted_import_breaks_the_contract(copy: Path, path: str, line: str) -> None:
    planted = copy / "modularml" / path
    planted.write_text(f"{planted.read_text()}\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1
    assert "1 broken" in done.stdout


def test_a_folder_outside_the_layers_breaks_the_contract(copy: Path) -> None:
    (copy / "modularml" / "utils").mkdir()
    (copy / "modularml" / "utils" / "__init__.py").touch()
    done = lint_imports(copy)
    assert done.returncode == 1
    assert "modularml.utils" in done.stdout


def our_imports(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "modularml"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        if any(name.partition(".")[0] == "modularml" for name in names):
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_cycle_is_dodged_by_an_import_of_ours_out_of_sight(path: Path) -> None:
    tree = ast.parse(path.read_text())
    hidden = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if path != ROOT / "modularml" / "__init__.py":  # the table of the lazy names
        hidden += [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    assert [line for node in hidden for line in our_imports(node)] == []
