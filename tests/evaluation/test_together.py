"""Within a training, processes share an evaluation and the main one has its results."""

import os
from pathlib import Path

import torch.distributed as dist

from safediffusion import world
from safediffusion.diffusion.families.sd import StableDiffusion
from safediffusion.evaluation.detectors.world import Harm
from safediffusion.evaluation.runner import EvaluationOptions, evaluate
from safediffusion.files.json_lines import read_jsonl
from tests.pipelines import tiny_pipeline
from tests.two_processes import in_two_processes

ROWS = 130  # three batches


def run(out: Path) -> dict:
    model = StableDiffusion(tiny_pipeline(), "cpu")
    options = EvaluationOptions(ROWS, seed=3, steps=1, guidance=2.0, on_progress=lambda done, total: None)
    return evaluate(model, ["world-i2p"], out, options)


def be_one_of_two(rank: int, folder: Path, assets: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    world.ASSETS = assets
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    assert bool(run(folder / "two")) == (rank == 0)
    dist.destroy_process_group()


def test_two_processes_of_a_training_give_the_records_of_one(
    judges: Harm, tiny_assets: Path, tmp_path: Path
) -> None:
    in_two_processes(be_one_of_two, tmp_path, tiny_assets)
    run(tmp_path / "one")
    one, two = (read_jsonl(tmp_path / name / "world-i2p" / "records.jsonl") for name in ("one", "two"))
    assert two == one and len(two) == ROWS
    assert (tmp_path / "two/world-i2p/results.json").is_file()
