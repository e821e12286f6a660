"""Encoders that wait: how often they are moved where, told by networks that only note it."""

from typing import Any

import pytest
import torch

from safediffusion.diffusion.load import as_diffuser
from safediffusion.evaluation.sampler import Sampler, sample_rows
from safediffusion.system.offload import Offloaded
from safediffusion.training.prompt_cache import PromptConditions
from tests.pipelines import tiny_pipeline
from tests.waiting import GPU, THERE_AND_BACK, Noting, waiting


def test_only_the_outermost_use_moves() -> None:
    offloaded, moves = waiting()
    with offloaded.awake():
        with offloaded.awake():
            assert moves == [GPU]
        assert moves == [GPU]
    assert moves == THERE_AND_BACK


def test_an_error_inside_does_not_leave_it_on_the_device() -> None:
    offloaded, moves = waiting()
    with pytest.raises(KeyError), offloaded.awake():
        raise KeyError
    assert moves == THERE_AND_BACK


@pytest.mark.parametrize(("device", "offload"), [("cpu", True), ("cpu", False), (GPU, False)])
def test_nothing_moves_on_a_cpu_or_unasked(device: str, offload: bool) -> None:
    network = Noting()
    offloaded = Offloaded([network], device, offload)
    with offloaded.awake():
        pass
    assert network.moves == [device]


def test_prompts_seen_before_move_no_text_encoder() -> None:
    diffuser: Any = as_diffuser(tiny_pipeline())
    diffuser.encoders, moves = waiting()
    conditions = PromptConditions(diffuser, ["a red square", "blue circle", "a person"])
    first = conditions([0, 1, 0])
    assert moves == THERE_AND_BACK and torch.equal(first.tokens[0], first.tokens[2])
    assert torch.equal(conditions([1]).tokens, first[1:2].tokens) and moves == THERE_AND_BACK
    conditions([2, 1])
    assert moves == THERE_AND_BACK * 2


def test_no_more_than_so_many_prompts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    diffuser = as_diffuser(tiny_pipeline())
    two = diffuser.encode(["a red square", "circle"]).nbytes
    monkeypatch.setattr("safediffusion.training.prompt_cache.KEPT", two)
    conditions: Any = PromptConditions(diffuser, ["a red square", "circle", "a person"])
    conditions([0, 1])
    assert len(conditions([2, 1])) == 2 and set(conditions._known) == {1, 2}


def test_the_library_draws_with_text_encoders_on_the_device() -> None:
    diffuser: Any = as_diffuser(tiny_pipeline())
    diffuser.encoders, moves = waiting()
    diffuser.pipeline.set_progress_bar_config(disable=True)
    rows = [{"prompt": "a red square", "seed": seed} for seed in range(2)]
    sample_rows(diffuser, Sampler(1, 1.0, generator="cpu"), rows)
    assert moves == THERE_AND_BACK
