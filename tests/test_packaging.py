"""What people install, be it a wheel, an sdist or a zip of the repository, is the whole package.

Each is made from the last commit and installed into an environment of its own, without node on the
PATH and without the extras. What the package depends on is borrowed from the present environment.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
EXTRAS = ["pandas", "pyarrow", "yaml"]
SETTINGS = "etc/jupyter/labconfig/default_setting_overrides.d/modularml.json"

IMPORT_EVERYTHING = f"""
import importlib, json, pkgutil, sys
sys.modules.update(dict.fromkeys({EXTRAS}))  # importing them fails
import modularml
modules = [m.name for m in pkgutil.walk_packages(modularml.__path__, "modularml.")]
for module in modules:
    importlib.import_module(module)
print(json.dumps([modularml.__file__, modularml.__version__, sorted(modules)]))
"""

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "", **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last commit, unpacked: no file that git does not know."""
    folder = tmp_path_factory.mktemp("source")
    run("git", "archive", "--format=zip", "--output", folder / "modularml.zip", "HEAD", cwd=ROOT)
    shutil.unpack_archive(folder / "modularml.zip", folder / "tree")
    return folder


@pytest.fixture(scope="module", params=["wheel", "sdist", "archive"])
def distribution(request: pytest.FixtureRequest, source: Path) -> Path:
    if request.param == "archive":
        return source / "modularml.zip"
    run(sys.executable, "-m", "hatchling", "build", "-t", request.param, "-d", source, cwd=source / "tree")
    (built,) = source.glob("*.whl" if request.param == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def environment(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the distribution in it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is borrowed as it is: the editable install in it stays unseen.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "--disable-pip-version-check"]
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    run(*pip, "install", *flags, distribution, cwd=folder, PATH=str(folder / "bin"))
    return folder


def test_every_module_is_there_and_can_be_imported(environment: Path, source: Path) -> None:
    tree = source / "tree"
    output = run(environment / "bin/python", "-c", IMPORT_EVERYTHING, cwd=environment, PATH="")
    origin, version, imported = json.loads(output.splitlines()[-1])
    assert Path(origin).is_relative_to(environment)
    assert f'version = "{version}"' in (tree / "pyproject.toml").read_text()
    files = [path.relative_to(tree).with_suffix("") for path in (tree / "modularml").rglob("*.py")]
    expected = {".".join(file.parts).removesuffix(".__init__") for file in files} - {"modularml"}
    assert set(imported) == expected


def test_the_first_example_of_the_readme_runs(environment: Path, source: Path, tmp_path: Path) -> None:
    readme = (source / "tree" / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    program = f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\n{example[1]}"
    assert "mse" in run(environment / "bin/python", "-W", "error", "-c", program, cwd=tmp_path, PATH="")


def test_every_file_of_the_package_is_there(environment: Path, source: Path) -> None:
    (installed,) = environment.glob("lib/python*/site-packages/modularml")
    tree = source / "tree" / "modularml"
    files = [path.relative_to(tree) for path in tree.rglob("*") if path.is_file()]
    assert Path("py.typed") in files
    for file in files:
        assert (installed / file).read_bytes() == (tree / file).read_bytes(), file


def test_the_settings_of_jupyterlab_are_there(environment: Path) -> None:
    assert (environment / SETTINGS).read_bytes() == (ROOT / "jupyter-config" / "modularml.json").read_bytes()


def test_the_settings_of_jupyterlab_go_with_the_package(environment: Path) -> None:
    """It stands behind all others that need this environment."""
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "--disable-pip-version-check"]
    run(*pip, "uninstall", "--yes", "modularml-jupyter", cwd=environment)
    assert not (environment / SETTINGS).exists()
    assert not list(environment.glob("lib/python*/site-packages/modularml/*.py"))


def test_every_pin_of_the_environment_runs_on_the_oldest_python() -> None:
    needs = {d.name: d.metadata.get("Requires-Python") or ">=3" for d in importlib.metadata.distributions()}
    assert {name: spec for name, spec in needs.items() if not SpecifierSet(spec).contains("3.11.0")} == {}
