"""The Python API: each public name is what it says, whatever was imported before it, and its example runs."""

import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import safediffusion
from tests.cli.conftest import environment

# In a fresh process: all public names before and after every module of the package is imported. An import
# can replace a name only by a module of that name at the top of the package, whatever the order.
CHECK = """
import importlib, pkgutil
import safediffusion

modules = [m.name for m in pkgutil.walk_packages(safediffusion.__path__, "safediffusion.")]
modules.remove("safediffusion.__main__")
def names():
    return {name: getattr(safediffusion, name) for name in safediffusion.__all__}
before = names()
for module in modules:
    importlib.import_module(module)
after = names()
assert before == after
wrong = [name for name, value in after.items() if name != "__version__" and not callable(value)]
assert not wrong, wrong
print(len(modules))
"""
CLASSES = {"RunConfig", "SafetyDirection", "SteeringReward", "Trainer"}
PUBLIC = sorted(set(safediffusion.__all__) - {"__version__"})


def test_every_public_name_stays_what_it_is_after_every_module_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK], env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_classes_are_classes_and_everything_else_is_a_function() -> None:
    import safediffusion.cli

    for name in PUBLIC:
        value = getattr(safediffusion, name)
        assert inspect.isclass(value) if name in CLASSES else inspect.isfunction(value), name
        assert value.__name__ == name


def test_no_module_beside_the_public_names_has_one_of_them() -> None:
    folder = Path(safediffusion.__file__).parent
    assert not {path.stem for path in folder.iterdir()} & set(safediffusion.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(getattr(safediffusion, name), name, globs={})
    assert example.examples, f"{name} has no example"
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert failed == 0
