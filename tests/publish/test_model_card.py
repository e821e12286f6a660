"""What a card shows runs as it stands, and tells nothing of the machine it was written on."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safediffusion.config import dump
from safediffusion.config.schema import RunConfig
from safediffusion.diffusion.load import as_diffuser
from safediffusion.files.run_folder import RunFolder
from safediffusion.publish.export import Target, export
from safediffusion.publish.model_card import model_card, public_name
from tests.pipelines import FAMILIES

SUMMARY = {
    "status": "finished", "recipe": "world", "seconds": 1, "device": "cpu", "images": 1, "updates": 1,
    "peak_memory_mib": 1, "collapsed_at": None, "before": {}, "after": {},
}  # fmt: skip


def finished_run(folder: Path, family: str, base: str) -> Path:
    """What export reads of a finished run with an adapter."""
    run = RunFolder(folder)
    if base == "world":
        from safediffusion.diffusion.load import load_model

        diffuser: Any = load_model("world", dtype="fp32")
    else:
        FAMILIES[family]().save_pretrained(base)
        diffuser = as_diffuser(FAMILIES[family]())
    diffuser.make_trainable(2)
    diffuser.export(run.model)
    settings = {
        "model": {"path": base},
        "prompts": {"path": f"{folder}/secret/prompts.csv"},
        "reward": {"anchors": f"{folder}/secret/mine.yaml"},
        "train": {"lora_rank": 2},
        "evaluate": {"tasks": []},
    }
    run.config.write_text(dump(RunConfig.model_validate(settings)), encoding="utf-8")
    run.summary.write_text(json.dumps(SUMMARY), encoding="utf-8")
    return folder


def test_the_card_of_sana_says_where_its_terms_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = finished_run(tmp_path / "run", "sana", "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers")
    card = model_card(RunFolder(run), "lora", None, "safer")
    for words in ("license_name: nscl-v2-custom", "LICENSE.txt", "https://ai.google.dev/gemma/terms"):
        assert words in card


def python_of(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize("target", [Target.diffusers, Target.lora])
@pytest.mark.parametrize("family, base", [("sd", "base"), ("sdxl", "base"), ("sd3", "base"), ("sd", "world")])
def test_the_lines_that_a_card_shows_load_the_model(
    target: Target, family: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = str(tmp_path / base) if base != "world" else base
    run = finished_run(tmp_path / "run", family, path)
    export(run, target, None)
    card = (tmp_path / f"run-{target}/README.md").read_text(encoding="utf-8")
    (code,) = python_of(card)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["pipe"].components
    if target is Target.lora:
        assert found["pipe"].get_active_adapters()
    assert str(tmp_path) not in card and os.sep + "secret" not in card


def test_the_line_for_a_kohya_file_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safediffusion.publish.model_card import model_card

    monkeypatch.chdir(tmp_path)
    run = finished_run(tmp_path / "run", "sdxl", str(tmp_path / "base"))
    export(run, Target.kohya, Path("mine"))
    card = model_card(RunFolder(run), Target.kohya, None, "mine.safetensors")
    (code,) = python_of(card)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["pipe"].get_active_adapters()
    assert "ComfyUI" in card and "A1111" in card


def test_a_kohya_file_that_diffusers_does_not_read_has_no_such_line(tmp_path: Path) -> None:
    from safediffusion.publish.model_card import model_card

    run = finished_run(tmp_path / "run", "sd3", str(tmp_path / "base"))
    card = model_card(RunFolder(run), Target.kohya, "someone/safer", "mine.safetensors")
    assert not python_of(card) and "ComfyUI" in card and "--to lora" in card


def test_a_card_tells_the_bias_of_the_direction_where_it_was_audited(tmp_path: Path) -> None:
    from safediffusion.files.atomic import write_json
    from safediffusion.publish.model_card import model_card
    from safediffusion.steering.anchors import SafetyPolicy
    from safediffusion.steering.audit.audit import Labelled, Steering, audit_policy
    from tests.steering.known_encoder import KnownEncoder

    run = RunFolder(finished_run(tmp_path / "run", "sd", str(tmp_path / "base")))
    assert "Bias" not in model_card(run, Target.diffusers, None, "mine")
    sides = (tuple(f"{side} scene {i}" for i in range(5)) for side in ("safe", "unsafe", "unsafe"))
    policy = SafetyPolicy("p", "", ("safe thing",), ("unsafe thing",))
    audit = audit_policy(policy, KnownEncoder({"sikh": -3.0}), Labelled(*sides), Steering(1.0))
    write_json(run.bias, audit.record())
    card = model_card(run, Target.diffusers, None, "mine")
    assert "## Bias of the safety direction" in card and "1 of 26 groups shift measurably" in card
    assert "religion/sikh" in card and "religion: from sikh" in card


@pytest.mark.parametrize(
    "path, told",
    [
        ("CompVis/stable-diffusion-v1-4", "CompVis/stable-diffusion-v1-4"),
        ("world", "world"),
        ("/home/someone/models/sd14", "sd14"),
        ("~/models/sd14/", "sd14"),
        ("../sd14", "sd14"),
        ("models/mine/sd14", "sd14"),
        ("C:\\models\\sd14", "sd14"),
        ("hpsv2.1", "hpsv2.1"),
    ],
)
def test_of_a_path_only_its_last_part_is_told(path: str, told: str) -> None:
    assert public_name(path) == told


def test_a_folder_here_that_looks_like_a_hub_id_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models/sd14").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name("models/sd14") == "sd14"


@pytest.mark.parametrize(
    "out, written",
    [("mylora", "mylora.safetensors"), ("a.safetensors", "a.safetensors"), ("v1.5", "v1.5.safetensors")],
)
def test_a_kohya_file_gets_the_ending_that_its_readers_ask_for(
    out: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "run")
    FAMILIES["sd"]().save_pretrained(run.model)
    (run.model / "lora").mkdir()
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    adapter = {f"{name}.lora_A.weight": torch.zeros(2, 32), f"{name}.lora_B.weight": torch.zeros(32, 2)}
    save_file(adapter, run.model / "lora/pytorch_lora_weights.safetensors")
    run.config.write_text(dump(RunConfig.model_validate({"train": {"lora_rank": 2}})), encoding="utf-8")
    assert export(run.root, Target.kohya, Path(out)) == [written]
    assert Path(written).is_file()
