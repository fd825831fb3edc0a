"""What `import modularml` loads, and what it must leave alone until it is used."""

import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "sklearn",
    "scipy",
    "ipywidgets",
    "anywidget",
    "IPython",
    "rich",
    "pandas",
    "pyarrow",
    "yaml",
]


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `statement`."""
    program = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import modularml",
        "import modularml; dir(modularml); modularml.__version__",
        "import modularml.base.errors",
    ],
)
def test_importing_the_package_loads_nothing_heavy(statement: str) -> None:
    loaded = loaded_by(statement)
    assert "modularml" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_heavy_libraries_are_seen_when_they_are_loaded() -> None:
    assert "sklearn" in loaded_by("import modularml, sklearn")
