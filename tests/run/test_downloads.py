"""What a run takes from the hub is said before it is taken."""

from pathlib import Path

import pytest

from safediffusion.config import load_config
from safediffusion.config.inputs import PromptsConfig
from safediffusion.errors import UserError
from safediffusion.prompts import sources
from safediffusion.prompts.select import load_prompts
from safediffusion.run.plan import downloads


def test_a_plan_names_model_reward_and_prompts_and_what_needs_consent() -> None:
    assert downloads(load_config("sd14")) == (
        "CompVis/stable-diffusion-v1-4 (model)",
        "openai/clip-vit-large-patch14 (reward)",
        "openai/clip-vit-base-patch32 (judge)",
        "Visualignment/CoProv2-SD15 (prompts; with prompts.accept_sensitive=true only)",
    )
    paper = downloads(load_config("sd14-paper", ["prompts.accept_sensitive=true"]))
    assert (paper[1], paper[-1]) == ("xswu/HPSv2 (reward)", "Visualignment/CoProv2-SD15 (prompts)")
    assert downloads(load_config("world")) == ()


def test_folders_files_and_rewards_of_ones_own_are_no_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/mine").mkdir(parents=True)
    words = [
        "model.path=models/mine",
        "prompts.path=mine.csv",
        "reward.kind=mine:reward",
        "evaluate.tasks=[]",
    ]
    assert downloads(load_config("sd14", words)) == ()


def test_a_sensitive_dataset_is_refused_before_it_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(source: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(sources, "_dataset", download)
    for name in ("safety", "coprov2", "ItsMaxNorm/SafeDiffusion-R1-dataset"):
        with pytest.raises(
            UserError, match=r"would be downloaded from the hub; set prompts\.accept_sensitive"
        ):
            load_prompts(PromptsConfig(path=name))
    with pytest.raises(AssertionError, match="downloaded"):
        load_prompts(PromptsConfig(path="safety", accept_sensitive=True))
