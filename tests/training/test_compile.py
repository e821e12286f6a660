"""A compiled network: the same policy, in one shape; and what happens without a compiler."""

import logging
from functools import partial

import pytest
import torch
from diffusers import StableDiffusionPipeline

SHAPES = {"rollout__batch_size": 3, "train__micro_batch": 5}  # nothing that divides the eight images


@pytest.fixture
def traced(monkeypatch):
    """torch.compile without a compiler of machine code; returns one entry a trace."""
    seen = []

    def backend(graph, inputs):
        seen.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield seen
    torch._dynamo.reset()


@pytest.mark.parametrize(("algorithm", "rank"), [("grpo", 0), ("nft", 4)])
def test_a_compiled_round_is_the_plain_one_and_nothing_later_compiles_more(
    make_trainer, traced, algorithm, rank
):
    changes = {"train__algorithm": algorithm, "train__lora_rank": rank, "train__kl": 0.1, **SHAPES}
    plain = make_trainer("plain", **changes).round()
    compiled = make_trainer("compiled", train__compile=True, **changes)
    row = compiled.round()
    kinds = len(traced)
    assert kinds > 1  # the first is the question whether there is a compiler
    for field in ("reward_mean", "reward_std", "loss", "grad_norm"):
        assert row[field] == pytest.approx(plain[field], rel=1e-3, abs=1e-6)
    if algorithm == "grpo":
        assert row["first_update_ratio_max_dev"] <= 1e-6
    assert compiled.run().status == "finished"  # the second round, pictures and the export
    assert len(traced) == kinds


@pytest.mark.parametrize("rank", [0, 4])
def test_channels_last_changes_the_layout_in_memory_alone(make_trainer, rank):
    changes = {"train__lora_rank": rank, "train__kl": 0.1, "train__updates": 2}
    plain, last = (make_trainer(str(c), train__channels_last=c, **changes) for c in (False, True))
    weights = [p for p in last.diffuser.network.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    rows = plain.round(), last.round()
    for field in ("reward_mean", "reward_std", "loss", "grad_norm"):
        assert rows[1][field] == pytest.approx(rows[0][field], rel=1e-3, abs=1e-6)
    assert rows[1]["first_update_ratio_max_dev"] <= 1e-6
    assert last.run().status == "finished"  # a checkpoint, and an export that plain diffusers loads
    StableDiffusionPipeline.from_pretrained(last.folder.model)


def test_without_a_compiler_training_goes_on_and_says_so_in_one_line(make_trainer, monkeypatch, caplog):
    def fails(function, **kwargs):
        raise RuntimeError("no compiler found\nand much more about it")

    monkeypatch.setattr(torch, "compile", fails)
    with caplog.at_level(logging.WARNING):
        row = make_trainer(train__compile=True).round()
    assert row["grad_norm"] > 0
    (line,) = [record.getMessage() for record in caplog.records if "train.compile" in record.getMessage()]
    assert "no compiler found" in line and "\n" not in line
