"""YAML that others wrote: recipes, words of the command line, a run's config.yaml, anchors."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safediffusion.config import load_config, load_run_config
from safediffusion.errors import Damaged, UserError
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.text import strict_yaml

from .conftest import Run

SECRET = "a-secret-of-the-environment"
INTERPOLATIONS = {
    "value": "reward:\n  alpha: ${oc.env:SECRET}\n",
    "part of a value": "recipe: x\nmodel:\n  path: a/${oc.env:SECRET}/b\n",
    "quoted": "model:\n  path: '${oc.env:SECRET}'\n",
    "key": "${oc.env:SECRET}: 1\n",
    "nested key": "model:\n  ${oc.env:SECRET}: 1\n",
    "item": "evaluate:\n  tasks: [world-i2p, '${oc.env:SECRET}']\n",
    "in a list of groups": "prompts:\n  also:\n  - path: ${oc.decode:${oc.env:SECRET}}\n",
    "reference": "reward:\n  alpha: ${seed}\n",
    "escaped": "model:\n  path: \\${oc.env:SECRET}\n",
    "block": "model:\n  path: >\n    ${oc.env:\n    SECRET}\n",
    "missing": "model:\n  path: ???\n",
    "extends": "extends: ${oc.env:SECRET}\n",
}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "deep list": ("[" * 100_000, "nested"),
    "deep mapping": ("a: " + "{a: " * 5_000, "nested"),
    "deep block": ("\n".join("  " * i + "a:" for i in range(500)), "nested"),
    "aliases": (BOMB, "aliases repeat"),
    "long text repeated": ("x: &x '" + "y" * 900_000 + "'\nz: [" + "*x, " * 500 + "]\n", "aliases repeat"),
    "alias of itself": ("a: &a [*a]\n", "alias of itself"),
    "unknown alias": ("a: *b\n", "undefined alias"),
    "repeated key": ("seed: 1\nreward:\n  alpha: 1\n  alpha: 2\n", "line 4, has the key 'alpha' twice"),
    "repeated section": ("model: {path: a}\nmodel: {path: b}\n", "twice"),
    "number as a key": ("seed: 1\n7: 2\n", "line 2, has a key that is not text"),
    "null as a key": ("~: 2\n", "not text"),
    "list as a key": ("? [a, b]\n: 2\n", "not text"),
    "call": ("seed: !!python/object/apply:os.system ['touch MARK']\n", "tag"),
    "name": ("seed: !!python/name:os.system\n", "tag"),
    "module": ("seed: !!python/module:os\n", "tag"),
    "new": ("!!python/object/new:os.system ['touch MARK']\n", "tag"),
    "own tag": ("seed: !mine 1\n", "tag"),
    "binary": ("seed: !!binary aGk=\n", "tag"),
    "set": ("seed: !!set {a}\n", "tag"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "single document"),
    "cut off": ("seed: [1\n", "valid YAML"),
    "control character": ("seed: \x1b\n", "valid YAML"),
    "number of 5000 digits": ("seed: " + "9" * 5000 + "\n", "valid YAML"),
    "empty": ("", "must hold"),
    "a list": ("- a\n", "must hold"),
    "large": ("#" * (strict_yaml.LARGEST + 1), "larger"),
}
READERS: dict[str, Callable[[Path], Any]] = {
    "recipe": lambda path: load_config(path, []),
    "run": load_run_config,
    "anchors": lambda path: load_safety_policy(str(path)),
}


def refusal(reader: str, path: Path) -> str:
    with pytest.raises((UserError, Damaged)) as error:
        READERS[reader](path)
    message = str(error.value)
    assert "\n" not in message and len(message) < 500 and path.name in message
    return message


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", INTERPOLATIONS.values(), ids=INTERPOLATIONS.keys())
def test_interpolations_are_refused(
    text: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    path = tmp_path / "theirs.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(reader, path)
    assert SECRET not in message and ("interpolation" in message or "???" in message)


@pytest.mark.parametrize(
    "word",
    [
        "model.path=${oc.env:SECRET}",
        "${oc.env:SECRET}=1",
        "reward.${oc.env:SECRET}=1",
        "evaluate.tasks=[world-i2p,'${oc.env:SECRET}']",
        "prompts.also=[{path: '${oc.env:SECRET}'}]",
        "reward.alpha=\\${seed}",
        "seed=???",
    ],
)
def test_interpolations_in_words_of_the_command_line_are_refused(
    word: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    code, out, err = run("train", word, "--dry-run")
    assert code == 2 and err.count("\n") == 1 and SECRET not in out + err
    assert "interpolation" in err or "???" in err


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_plain_yaml_is_refused_with_one_line(
    text: str, reason: str, reader: str, tmp_path: Path
) -> None:
    path, mark = tmp_path / "theirs.yaml", tmp_path / "executed"
    path.write_text(text.replace("MARK", str(mark)), encoding="utf-8")
    message = refusal(reader, path)
    # a run's settings end in a line: where it is missing, nothing more is asked of them
    assert reason in message or (reader == "run" and not text.endswith("\n") and "is damaged" in message)
    assert not mark.exists()


def test_the_line_of_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text("seed: 1\nreward:\n  alpha: ${seed}\n", encoding="utf-8")
    assert f"{path}, line 3," in refusal("recipe", path)


def test_a_device_is_not_read_for_ever() -> None:
    with pytest.raises(UserError, match="larger"):
        strict_yaml.read_mapping(Path("/dev/zero"), "settings")


def test_anchors_and_merges_of_ordinary_size_are_read() -> None:
    text = "base: &base {a: 1, b: 1e-5}\nmine:\n  <<: *base\n  a: 2\n"
    assert strict_yaml.parse(text, "here")["mine"] == {"a": 2, "b": 1e-5}


def test_one_module_alone_reads_yaml_of_others() -> None:
    import safediffusion

    root = Path(safediffusion.__file__).parent
    found = {
        f.name
        for f in root.rglob("*.py")
        if "yaml.load" in (t := f.read_text(encoding="utf-8")) or "omegaconf" in t
    }
    assert found == {"strict_yaml.py"}


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@settings(max_examples=200)
@given(st.dictionaries(st.text(), values, max_size=4))
def test_what_is_written_reads_back_the_same(content: dict[str, Any]) -> None:
    try:
        again = strict_yaml.parse(strict_yaml.dump(content), "here")
    except UserError as error:
        assert any(word in str(error) for word in ("interpolation", "???", "nested"))
    else:
        assert again == content


def test_nothing_of_the_environment_is_in_a_plan(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    code, out, _ = run("train", "--dry-run")
    assert code == 0 and SECRET not in out and os.environ["SECRET"] == SECRET
