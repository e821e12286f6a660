"""`export --push` against a hub that only notes what it is asked; nothing reaches for the network."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import RepoUrl
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from safetensors.torch import save_file
from torch import zeros

from safediffusion.config import dump
from safediffusion.config.schema import RunConfig
from safediffusion.files.run_folder import RunFolder
from safediffusion.publish.export import ADAPTER
from tests.cli.conftest import Command
from tests.pipelines import tiny_pipeline

REPO = "someone/safer"
CALLS = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What `export` reads of a finished run with an adapter and no evaluation."""
    folder = RunFolder(tmp_path / "run")
    (folder.model / "lora").mkdir(parents=True)
    tiny_pipeline().save_pretrained(folder.model)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    adapter = {f"{name}.lora_A.weight": zeros(2, 32), f"{name}.lora_B.weight": zeros(32, 2)}
    save_file(adapter, folder.model / "lora" / ADAPTER)
    config = RunConfig.model_validate({"train": {"lora_rank": 2}, "evaluate": {"tasks": []}})
    folder.config.write_text(dump(config), encoding="utf-8")
    summary = {"status": "finished", "recipe": "sd", "seconds": 1, "images": 1, "updates": 1, "device": "cpu"}
    summary |= {"peak_memory_mib": 1, "collapsed_at": None, "before": {}, "after": {}}
    folder.summary.write_text(json.dumps(summary), encoding="utf-8")
    return folder.root


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> CALLS:
    """A hub with a token that takes everything; its calls."""
    calls: CALLS = []

    class Api:
        def create_repo(self, repo_id: str, **options: Any) -> RepoUrl:
            calls.append(("create_repo", {"repo_id": repo_id, **options}))
            return RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, **options: Any) -> None:
            calls.append(("upload_folder", options))

        def upload_file(self, **options: Any) -> None:
            calls.append(("upload_file", options))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_something")
    return calls


def test_a_folder_goes_into_a_private_repository_with_its_card(
    command: Command, run: Path, hub: CALLS
) -> None:
    done = command("export", run, "--to", "lora", "--push", REPO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["run-lora", f"https://huggingface.co/{REPO}"]
    assert hub == [
        ("create_repo", {"repo_id": REPO, "private": True, "exist_ok": True}),
        ("upload_folder", {"repo_id": REPO, "folder_path": Path("run-lora")}),
    ]
    assert f'load_lora_weights("{REPO}", weight_name="{ADAPTER}")' in Path("run-lora/README.md").read_text(
        encoding="utf-8"
    )


def test_a_single_file_goes_with_a_card_beside_it(command: Command, run: Path, hub: CALLS) -> None:
    done = command("export", run, "--to", "kohya", "--push", REPO)
    assert done.returncode == 0, done.stderr
    assert [name for name, _ in hub] == ["create_repo", "upload_file", "upload_file"]
    file, card = (options for _, options in hub[1:])
    assert file["path_in_repo"] == "run-kohya.safetensors" and file["path_or_fileobj"].is_file()
    assert card["path_in_repo"] == "README.md"
    assert f'"{REPO}", weight_name="run-kohya.safetensors"' in card["path_or_fileobj"].decode()


def test_without_a_token_nothing_is_written(
    command: Command, run: Path, hub: CALLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    done = command("export", run, "--push", REPO)
    assert done.returncode == 2 and "hf auth login" in done.stderr and "HF_TOKEN" in done.stderr
    assert not hub and not Path("run-diffusers").exists()


def test_a_name_that_is_none_is_refused(command: Command, run: Path, hub: CALLS) -> None:
    done = command("export", run, "--push", "some/one/else")
    assert done.returncode == 2 and "OWNER/NAME" in done.stderr
    assert not hub and not Path("run-diffusers").exists()


@pytest.mark.parametrize("error", [OfflineModeIsEnabled("offline mode is on"), HTTPError("no route")])
def test_a_push_that_fails_leaves_the_copy_and_says_how_to_go_on(
    command: Command, run: Path, hub: CALLS, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    done = command("export", run, "--push", REPO)
    assert done.returncode == 1 and f"hf upload --private {REPO} run-diffusers" in done.stderr, done.stderr
    assert str(error) in done.stderr and Path("run-diffusers/model_index.json").is_file()


def test_without_push_the_hub_is_left_alone(command: Command, run: Path, hub: CALLS) -> None:
    assert command("export", run).returncode == 0
    assert not hub and 'from_pretrained("run-diffusers")' in Path("run-diffusers/README.md").read_text(
        encoding="utf-8"
    )
