"""Odd values, paths and errors: each is refused in one line, or is taken as what it says."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from safediffusion.config import RunConfig, dotted_keys, dump, flatten, load_config, validate
from safediffusion.errors import RunError, UserError
from safediffusion.files.atomic import write_image, write_text
from safediffusion.files.paths import out_path
from safediffusion.steering.anchors import load_safety_policy
from safediffusion.text import strict_yaml, words
from safediffusion.unexpected import tell
from tests.cli.conftest import Command, command  # noqa: F401 (a fixture)

ODD = [
    *("", " ", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "True", "TRUE", "nan"),
    *("inf", ".nan", ".NaN", ".inf", "-.inf", "-inf", "NaN", "Infinity", "0", "-0", "+0", "00", "007", "010"),
    *("0o17", "0x10", "0b11", "1_000", "1,000", "1 000", "1e3", "1E3", "1e-3", "1e999", "-1e999"),
    *("1e-999", "1e22"),
    *("1.", ".5", "1.5", "1.0", "-1", "-0.0", "1:30", "1:30:45", "12:30:45.5", "2001-01-01", "1/2", "50%"),
    *("4294967295", "4294967296", "2147483648", "9223372036854775808", "18446744073709551616"),
    *("1" + "0" * 22, "-1" + "0" * 22, "9" * 400, "9" * 5000, "0." + "1" * 400, "1e-400", "5e-324"),
    *("[]", "{}", "[1]", "[[1]]", "[null]", "['']", "[a, a]", "[a, A]", "[a,, b]", "[,]", ",", "a,b"),
    *("{a: 1}", "{path: x}", "[{path: x}]", "[{path: 1}]", "[{}]", "[{kind: clip}]", "[{name: x}]"),
    *("[1, true, x]",),
    *("'", '"', "'a", '"\\x00"', '"a\\nb"', '"\\e[2J"', '"\\ud800"', "a\x00b", "a\nb", "\x1b[2J", "\t"),
    *("a #b", "#", "a: b", "- a", "? a", "!!int 3", "!x", "&a", "*a", "&a [*a]", "%", "@", "`", "|", ">"),
    *("---", "...", "=", "<<", "${x}", "???", "٣", "１２", "½", "²", "1\u200b", "\u202e1", "é"),
    *("\ud83d", "x" * 300),
    *("x" * 5000, "/", ".", "..", "../..", "a/../b", "/dev/zero", "~root", "~nobody-here", "~/x", "C:\\x"),
    *("a/" * 3000, "world", "fp32", "[world-i2p]", "world-i2p", "[wandb]", "wandb", "grpo", "linear"),
    *("x" * 256,),
]  # fmt: skip


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return load_config(None, []).model_dump()


def with_word(base: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The settings of a run with one of them changed."""
    section, _, name = key.rpartition(".")
    return base | ({section: base[section] | {name: value}} if section else {name: value})


def one_line(error: UserError) -> str:
    message = str(error)
    assert message and "\n" not in message and len(message) < 700, message
    return message


@pytest.mark.parametrize("key", dotted_keys())
def test_every_odd_word_is_refused_in_one_line_or_reads_back_the_same(key: str, base: dict[str, Any]) -> None:
    for text in ODD:
        try:
            config = validate(with_word(base, key, strict_yaml.parse(text, key)))
        except UserError as error:
            one_line(error)
            continue
        value = flatten(config)[key]
        again = strict_yaml.parse(strict_yaml.dump({"value": value}), "dump")["value"]
        assert again == value and validate(with_word(base, key, again)) == config, text


def test_any_words_are_refused_in_one_line_or_read_back_the_same() -> None:
    rng = random.Random(0)
    keys = [
        *dotted_keys(),
        "",
        ".",
        "a",
        "model",
        "model.",
        ".path",
        "prompts.also.0.path",
        "a" * 300,
        "." * 99,
    ]
    for _ in range(60):
        some = [
            f"{rng.choice(keys)}{rng.choice(['=', '=', '=', '', '=='])}{rng.choice(ODD)}" for _ in range(2)
        ]
        try:
            config = load_config(None, some)
        except UserError as error:
            one_line(error)
        else:
            assert validate(strict_yaml.parse(dump(config), "dump")) == config, some


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("model.resolution=1_000", "plain digits"),
        ("model.resolution=100000", "2048"),
        ("model.resolution=0x10", "plain digits"),
        ("model.resolution=010", "plain digits"),
        ("model.resolution=1:30", "plain digits"),
        ("train.steps=1e3", "plain digits"),
        ("train.steps=true", "plain digits"),
        ("train.lora_rank=10000000000000000000000", "4096"),
        ("rollout.group_size=1000000000", "100000"),
        ("rollout.batch_size=1000000000", "100000"),
        ("seed=4294967296", "4294967295"),
        ("seed=-1", "greater than or equal to 0"),
        ("reward.alpha=.nan", "finite"),
        ("reward.alpha=.inf", "finite"),
        ("reward.threshold=.nan", "finite"),
        ("reward.alpha=yes", "number"),
        ("model.offload=yes", "true or false"),
        ("model.offload=1", "true or false"),
        ("model.path=" + "x" * 300, "255"),
        ("model.path=" + "x/" * 3000, "4096"),
        ('model.path=""', "empty"),
        ('prompts.path="a\\0b"', "control character"),
        ('reward.name="a\\nb"', "control character"),
        ("model.path=2024", "quotes"),
        ("model.path=a #b", "comment"),
        ("evaluate.tasks=world-i2p", "[first, second]"),
        ("evaluate.tasks=[world-i2p, world-i2p]", "twice"),
        ("watch=[wandb, wandb]", "twice"),
        ("prompts.also=[{pth: x}]", "no such setting"),
        ("recipe=a/b", "slashes"),
        ("recipe=a:b", "slashes"),
    ],
)
def test_the_line_says_why_a_value_is_not_taken(word: str, reason: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(None, [word])
    assert reason in one_line(error.value) and word.partition("=")[0] in str(error.value)


def test_a_round_has_a_bound_too() -> None:
    with pytest.raises(UserError, match="a round has at most"):
        load_config(None, ["rollout.prompts=100000", "rollout.group_size=100"])


def test_every_number_has_two_bounds_and_every_text_a_rule() -> None:
    def check(about: dict[str, Any], where: str) -> None:
        for kind in about.get("anyOf", [about]):
            if kind.get("type") in ("integer", "number"):
                lower, upper = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
                assert lower & kind.keys() and upper & kind.keys(), where

    schema = RunConfig.model_json_schema()
    for name, group in (schema["$defs"] | {"": schema}).items():
        for key, about in group["properties"].items():
            check(about, f"{name}.{key}")
    for key in dotted_keys():  # no text may hold what cannot be written on one line
        with pytest.raises(UserError):
            load_config(None, [f'{key}="a\\0b"'])


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    keys = ("model.path", "model.tiny_vae", "prompts.path", "reward.encoder", "reward.anchors")
    config = load_config(None, [f"{key}=~/x" for key in keys])
    found = [getattr(getattr(config, key.split(".")[0]), key.split(".")[1]) for key in keys]
    assert found == ["/home/me/x"] * 5
    assert out_path("~/y") == Path("/home/me/y")


ANCHORS = {
    "categories: 3": "categories",
    "categories: [3]": "categories.0",
    "categories: [a, a]": "twice",
    "safe: calm": "safe",
    "safe: [1]": "safe.0",
    "safe: [null]": "safe.0",
    "safe: [calm, Calm]": "twice",
    "safe: [[calm]]": "safe.0",
    "safe: {calm: 1}": "safe",
    'safe: ["a\\0b"]': "control character",
    "unsafe: []": "no unsafe phrases",
    "unsafe: [harm, HARM ]": "twice",
    "unsafe: [Calm]": "safe and unsafe",
    "alpha: .nan": "finite",
    "alpha: .inf": "finite",
    "alpha: -.inf": "finite",
    "alpha: 1e9": "100",
    "alpha: true": "number",
    "alpha: '1'": "number",
    "name: 3": "name",
    "name: a/b": "slashes",
    "name: ..": "slashes",
    "description: [a]": "description",
    "empty_positive: 1": "true or false",
    "3: a": "not text",
}


@pytest.mark.parametrize(("line", "reason"), ANCHORS.items())
def test_a_policy_of_the_wrong_shape_is_refused_in_one_line(line: str, reason: str, tmp_path: Path) -> None:
    lines = {"safe": "safe: [calm]", "unsafe": "unsafe: [harm]", line.partition(":")[0]: line}
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines.values()), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_safety_policy(str(path))
    assert reason in one_line(error.value) and "mine.yaml" in str(error.value)


@pytest.mark.parametrize("text", [",", "", " ", "a,", ",a", "a,,b", "a, ,b", "a,a", "a,A"])
def test_a_list_of_names_has_no_empty_and_no_repeated_member(text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|twice"):
        words.names(text)
    assert words.names(" a, b ") == ("a", "b")


MODEL, LONG = "model/inner", "x" * 300
USAGE: dict[str, tuple[list[str], str]] = {
    "no task": (["evaluate", "world", "--tasks", ","], "empty name"),
    "empty tasks": (["evaluate", "world", "--tasks", ""], "empty name"),
    "task twice": (["evaluate", "world", "--tasks", "world-i2p,world-i2p"], "twice"),
    "no protocol": (["evaluate", "world", "--protocols", "rece-rate,"], "empty name"),
    "limit 0": (["evaluate", "world", "--limit", "0"], "--limit"),
    "limit": (["evaluate", "world", "--limit", "1" + "0" * 30], "--limit"),
    "processes": (["train", "--nproc", "1" + "0" * 30], "--nproc"),
    "root": (["train", "--out", "/"], "root"),
    "empty out": (["train", "--out", ""], "empty"),
    "out of the root": (["evaluate", "world", "--out", "/.."], "root"),
    "below a file": (["train", "--out", "file/run"], "is a file"),
    "deep below a file": (["evaluate", "world", "--out", "file/a/b"], "is a file"),
    "long": (["train", "--out", LONG], "255"),
    "line break": (["train", "--out", "a\nb"], "control character"),
    "null device": (["train", "--out", "/dev/null"], "device"),
    "device": (["sample", "world", "a", "--out", "/dev/null"], "device"),
    "pipe": (["sample", "world", "a", "--out", "pipe.png"], "device or pipe"),
    "loop": (["sample", "world", "a", "--out", "loop.png"], "link that leads nowhere"),
    "inside a loop": (["sample", "world", "a", "--out", "loop.png/a.png"], "cannot write"),
    "picture folder": (["sample", "world", "a", "--out", "folder.png"], "is a folder"),
    "no ending": (["sample", "world", "a", "--out", "picture"], ".png"),
    "svg": (["sample", "world", "a", "--out", "a.svg"], ".png"),
    "pdf of anchors": (["anchors", "check", "compact", "--out", "a.txt"], ".png"),
    "world sheet": (["world", "show", "--out", "a"], ".png"),
    "in a model": (["sample", "world", "a", "--out", f"{MODEL}/a.png"], "inside the model"),
    "export into a model": (["export", "run", "--out", MODEL], "inside the model"),
    "table in a model": (["compare", "a", "b", "--out", f"{MODEL}/deep"], "inside the model"),
    "recipe in a device": (["recipes", "copy", "world", "/dev/null"], "device"),
    "long model": (["sample", LONG, "a"], "255"),
    "long run": (["report", LONG], "255"),
    "long recipe": (["train", f"{LONG}.yaml"], "255"),
    "long pictures": (["evaluate", "--images", LONG], "255"),
    "long anchors": (["anchors", "show", f"{LONG}.yaml"], "255"),
    "below a recipe": (["train", "file/a.yaml"], "not a directory"),
    "folder as a recipe": (["train", "folder.yaml"], "is a directory"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), USAGE.values(), ids=USAGE.keys())
def test_a_bad_command_line_ends_at_once_with_one_line_and_leaves_nothing(
    command: Command,  # noqa: F811
    tmp_path: Path,
    line: list[str],
    reason: str,
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model_index.json").write_text("{}", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    before = sorted(tmp_path.rglob("*"))
    done = command(*line)
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_point_names_the_folder_that_it_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert [out_path(text) for text in (".", "..", "./", "x/..")] == [
        tmp_path / "a/b",
        tmp_path / "a",
        tmp_path / "a/b",
        tmp_path / "a/b",
    ]


@pytest.mark.parametrize(
    ("ending", "kind"), [("png", "PNG"), ("jpg", "JPEG"), ("JPEG", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF")]
)
def test_a_picture_is_written_as_its_ending_says(ending: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    write_image(path, Image.new("RGB", (8, 8), "red"))
    assert Image.open(path).format == kind


def test_only_a_file_or_a_link_to_one_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("missing")
    for name in ("pipe", "nowhere"):
        with pytest.raises(UserError, match="not replaced"):
            write_text(tmp_path / name, "x")
    (tmp_path / "file").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").read_text(encoding="utf-8") == "new" and (tmp_path / "pipe").is_fifo()


def allocate() -> None:
    torch.empty(2**60, dtype=torch.float32)


def recurse() -> None:
    json.loads("[" * 100_000)


UNEXPECTED: dict[str, tuple[Callable[[], object], int, str]] = {
    "long name": (lambda: Path("x" * 300).read_bytes(), 2, "file name too long; give a shorter name"),
    "missing": (lambda: Path("nothing-here").read_bytes(), 2, "nothing-here: no such file or directory"),
    "folder": (lambda: Path("/").read_bytes(), 2, "is a directory"),
    "below a file": (lambda: Path("/etc/hostname/x").read_bytes(), 2, "not a directory"),
    "null": (lambda: Path("a\0b").read_bytes(), 2, "NUL"),
    "disk": (lambda: raise_(OSError(errno.EIO, "Input/output error", "x")), 1, "x: input/output error"),
    "files": (lambda: raise_(OSError(errno.EMFILE, "Too many open files")), 1, "too many open files"),
    "links": (lambda: raise_(OSError(errno.ELOOP, "Too many levels", "x")), 2, "circle"),
    "library's": (lambda: raise_(OSError("cannot load x\nsecond line")), 1, "cannot load x second line"),
    "torch": (allocate, 1, "not enough memory"),
    "numpy": (lambda: np.empty(2**57), 1, "not enough memory for 1.00 EiB"),
    "python": (lambda: bytearray(2**62), 1, "not enough memory"),
    "cuda": (lambda: raise_(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")), 1,
             "not enough memory for 2.00 GiB"),
    "recursion": (recurse, 2, "nested too deeply"),
    "utf-8": (lambda: b"\xff".decode(), 2, "UTF-8"),
    "surrogates": (lambda: "\ud800".encode(), 2, "UTF-8"),
    "schema": (lambda: RunConfig(seed=-1), 2, "seed=-1 is not accepted"),
    "yaml": (lambda: yaml.safe_load("[a\nb: c"), 2, "not valid YAML"),
    "json": (lambda: json.loads("{"), 1, "not valid JSON"),
    "module": (lambda: __import__("no_such_package"), 1, "pip install no_such_package"),
    "usage": (lambda: raise_(UserError("a mistake")), 2, "a mistake"),
    "run": (lambda: raise_(RunError("a failure")), 1, "a failure"),
    "other": (lambda: {}["x"], 1, "(KeyError; -v shows where)"),
    "silent": (lambda: raise_(AssertionError()), 1, "(AssertionError; -v shows where)"),
}  # fmt: skip


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(("work", "code", "text"), UNEXPECTED.values(), ids=UNEXPECTED.keys())
def test_what_nobody_caught_is_told_in_a_sentence(work: Callable[[], object], code: int, text: str) -> None:
    with pytest.raises(Exception) as error:
        work()
    told = tell(error.value)
    assert text in told.text and told.code == code
    assert "\n" not in told.text and len(told.text) <= 500
