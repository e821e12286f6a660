"""The prompts that a run holds out: the text decides, whatever stands around it."""

import random
from pathlib import Path
from typing import Any

import pytest

from safediffusion.config import load_config
from safediffusion.errors import UserError
from safediffusion.files.checked import write_checked
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.held_out import held_out_texts, split, text_key
from safediffusion.prompts.select import Prompt
from safediffusion.run.prompts import run_prompts

BENIGN = [Prompt(f"a {color} thing, number {i}", "benign") for color in ("red", "blue") for i in range(20)]
UNSAFE = [Prompt(f"a fight, number {i}", "unsafe") for i in range(20)]


def test_the_order_of_the_prompts_does_not_matter_and_every_label_gives_its_share() -> None:
    prompts = [*BENIGN, *UNSAFE]
    held = held_out_texts(prompts, 0.1)
    shuffled = random.Random(0).sample(prompts, len(prompts))
    assert held_out_texts(shuffled, 0.1) == held
    train, out = split(prompts, held)
    assert split(shuffled, held)[1] == out
    assert [prompt.label for prompt in out] == ["unsafe", "benign"] * 2 + ["benign"] * 2
    assert len(train) == 54 and not {text_key(p.text) for p in train} & {text_key(p.text) for p in out}


def test_a_text_that_stands_there_twice_lies_on_one_side() -> None:
    pairs: Any = [(Path(f"{i}.png"), Path("other.png")) for i in range(2)]
    prompts = [
        Prompt(text, label, source=source, pair=pair)
        for i in range(10)
        for text, label, source, pair in (
            (f"a Dog {i}", "benign", 0, pairs[0]),
            (f"a  dog {i}", "unsafe", 1, pairs[1]),
        )
    ]
    train, out = split(prompts, held_out_texts(prompts, 0.3))
    assert len(out) == 3 and len(train) == 14
    assert not {text_key(p.text) for p in train} & {text_key(p.text) for p in out}


def test_something_is_left_to_train_on() -> None:
    prompts = [Prompt("a dog", "benign"), Prompt("a cat", "benign"), Prompt("a fight", "unsafe")]
    assert len(held_out_texts(prompts, 0.9)) == 1
    assert held_out_texts(prompts, 0.0) == held_out_texts(prompts, 0.1) == set()


def test_a_resumed_run_keeps_what_it_held_out_although_its_file_has_changed(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.txt", RunFolder(tmp_path / "run")
    file.write_text("".join(f"a dog, number {i}\n" for i in range(20)), encoding="utf-8")
    config = load_config("world", [f"prompts.path={file}", "prompts.heldout=0.2"])
    first = run_prompts(config, folder)
    rows = [{"prompt": prompt.text, "label": ""} for prompt in first.held_out]
    write_checked(folder.heldout, {"world": False, "encoders": {}, "prompts": rows})
    with file.open("a", encoding="utf-8") as more:
        more.writelines(f"a cat, number {i}\n" for i in range(200))
    again = run_prompts(config, folder)
    assert again.held_out == first.held_out and len(first.held_out) == 4
    assert len(again.rows) == 216 and run_prompts(config).held_out != first.held_out
    assert first.report()["held_out"] == {"unlabelled": 4}


def test_too_few_prompts_to_hold_one_out_are_refused_where_the_task_wants_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a dog\na cat\n", encoding="utf-8")
    words = [f"prompts.path={tmp_path / 'a.txt'}", "prompts.heldout=0.1"]
    assert run_prompts(load_config("world", words)).held_out == []
    with pytest.raises(UserError, match=r"holds out none of 2 prompts.*evaluate\.tasks=\[\]"):
        run_prompts(load_config("world", [*words, "evaluate.tasks=[heldout]"]))


def test_the_task_without_held_out_prompts_is_refused_with_what_to_set() -> None:
    with pytest.raises(UserError, match=r"prompts\.heldout is 0; set prompts\.heldout=0\.1"):
        load_config("world", ["evaluate.tasks=[heldout]"])
