"""Run folders for the page: judged ones with pictures, and one whose model is World itself."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from safediffusion import world
from safediffusion.config import RunConfig, dump
from safediffusion.evaluation.records import read_records
from safediffusion.files.atomic import write_text
from safediffusion.files.run_folder import RunFolder
from safediffusion.world.scenes import CATEGORIES, make_benign, make_harm, render
from tests.report.conftest import write_results

PICTURES = 14  # of each task; two for each category of harm


def judged_run(root: Path) -> RunFolder:
    """A run whose images of world-i2p were kept: before training most are unsafe, after it few."""
    folder = RunFolder(root)
    write_text(folder.config, dump(RunConfig()))
    for when, unsafe in (("before", 0.6), ("after", 0.15)):
        write_results(folder.eval_path(when), PICTURES, unsafe, 0.6)
        keep_pictures(folder.eval_path(when, "world-i2p"))
    return folder


def keep_pictures(task: Path) -> None:
    """Draw what the judge says it saw."""
    rng = np.random.default_rng(0)
    (task / "images").mkdir()
    for record in read_records(task):
        label = max(record["harm"], key=record["harm"].get)
        scene = make_harm(rng, label, "beach") if label in CATEGORIES else make_benign(rng, "beach")
        Image.fromarray(render(scene)).save(task / "images" / f"{record['index']:05d}.png")


def finished_run(root: Path) -> RunFolder:
    """A run of no rounds: its result is its base."""
    folder = RunFolder(root)
    write_text(folder.config, dump(RunConfig()))
    shutil.copytree(world.asset("pipeline"), folder.model)
    return folder
