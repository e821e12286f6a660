"""The wheel and the sdist build, and the wheel works in an empty folder without the repository."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = (
    "safediffusion/py.typed",
    "safediffusion/report/page.html.j2",
    "safediffusion/evaluation/tables/published.yaml",
    "safediffusion/prompts/minors/words.yaml",
    "safediffusion/accelerate/ddp.yaml",
    "safediffusion/diffusion/tokenizer/merges.txt",
    "safediffusion/diffusion/tokenizer/LICENSE",
    "safediffusion/world/assets/pipeline/model_index.json",
)
COPIED = ("src", "pyproject.toml", "README.md", "LICENSE")
MIB = 2**20
# In a fresh process, with nothing of the repository on the path: assets, data files and all modules load.
CHECK = """
import importlib, pkgutil, sys
from pathlib import Path
import safediffusion

assert Path(safediffusion.__file__).is_relative_to(sys.argv[1]), safediffusion.__file__
names = [m.name for m in pkgutil.walk_packages(safediffusion.__path__, "safediffusion.")]
for name in names:
    if name != "safediffusion.__main__":
        importlib.import_module(name)
from safediffusion.config import load_config
from safediffusion.diffusion.load import load_model
from safediffusion.evaluation.tables.method_table import PUBLISHED
from safediffusion.steering.anchors import load_safety_policy

assert load_config("world", []).prompts.path
assert load_safety_policy("scaled")
assert PUBLISHED.read_text(encoding='utf-8')
assert load_model("world").encode(["a red square"])
print(len(names))
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist of a copy of the source, built without the network."""
    missing = [name for name in ("build", "pip", "setuptools") if not find_spec(name)]
    if missing:
        pytest.skip(f"building needs {', '.join(missing)}: pip install -e '.[dev]'")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:
        path = ROOT / name
        copy = source / name
        shutil.copytree(path, copy, ignore=ignore) if path.is_dir() else shutil.copy(path, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", out, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or done.stdout
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz"))}


@pytest.fixture(scope="module")
def installed(distributions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel alone; the packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", folder, distributions["wheel"]], check=True, capture_output=True)
    return folder


def run(installed: Path, folder: Path, *words: str | Path) -> str:
    """Standard output of Python in an empty folder, with the wheel's files first on the path."""
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_and_sdist_hold_every_data_file_and_the_assets(distributions: dict[str, Path]) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        sizes = {entry.filename: entry.file_size for entry in wheel.infolist()}
    with tarfile.open(distributions["sdist"]) as sdist:
        names = {name.partition("/src/")[2] for name in sdist.getnames()}
    package = ROOT / "src/safediffusion"
    tracked = {
        str(path.relative_to(ROOT / "src"))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(NEEDED) <= tracked
    assert tracked <= set(sizes) and tracked <= names
    assets = sum(size for name, size in sizes.items() if name.startswith("safediffusion/world/assets/"))
    assert assets > 25 * MIB
    assert not [name for name in sizes if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_an_installed_wheel_imports_every_module_and_loads_its_assets(
    installed: Path, tmp_path: Path
) -> None:
    assert int(run(installed, tmp_path, "-c", CHECK, str(installed))) > 100


def test_the_command_of_an_installed_wheel_runs(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin/safediffusion"
    assert "Usage" in run(installed, tmp_path, script, "--help")
    assert "world" in run(installed, tmp_path, script, "recipes", "list")
