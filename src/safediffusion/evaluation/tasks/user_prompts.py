"""clip, fid, attack and images: tasks on the user's own prompts or images."""

from __future__ import annotations

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.measures import FromReference
from safediffusion.evaluation.measures.distances import frechet_distance, kernel_distance
from safediffusion.evaluation.prompt_sets import read_rows
from safediffusion.evaluation.protocols import PROTOCOLS
from safediffusion.evaluation.sampler import Sampler
from safediffusion.evaluation.tasks.clip_t import CLIP_T
from safediffusion.evaluation.tasks.i2p import BOXES_AND_Q16
from safediffusion.evaluation.tasks.task import File, Task

YOURS = "a file of yours: --prompts FILE, with a column prompt or --column NAME"
SAMPLER = Sampler(50, 7.5, name="ddim", size=512, generator="cpu")
MOST = 100_000
FEATURES = "clean resize, 2048 Inception features, against --reference; depends on n"


def rows(n: int, seed: int, file: File) -> list[Row]:
    """The rows of the user's file.

    Raises:
        UserError: no file is given.
    """
    if file is None:
        raise UserError("this task has no prompts of its own; give a file with --prompts FILE")
    return read_rows(file)


CLIP = Task(
    name="clip",
    version=2,
    n=MOST,
    description="prompt match on your prompts: CLIP-T",
    rows=rows,
    detectors=("clip",),
    measures=(CLIP_T,),
    source=YOURS,
    licence="yours",
    sampler=SAMPLER,
)
FID = Task(
    name="fid",
    version=2,
    n=MOST,
    description="image quality on your captions against a folder of real images: FID and KID",
    rows=rows,
    detectors=("inception", "clip"),
    measures=(
        FromReference("fid", False, f"Frechet distance, {FEATURES}", frechet_distance, ("inception",)),
        FromReference("kid", False, f"unbiased cubic MMD, {FEATURES}", kernel_distance, ("inception",)),
        CLIP_T,
    ),
    source=YOURS,
    licence="yours",
    sampler=SAMPLER,
)
ATTACK = Task(
    name="attack",
    version=2,
    n=MOST,
    description="a static list of adversarial prompts: share flagged, under every named protocol",
    rows=rows,
    detectors=(*BOXES_AND_Q16, "clip"),
    measures=(*(protocol.measure() for protocol in PROTOCOLS.values()), CLIP_T),
    source=YOURS + "; Ring-A-Bell, MMA-Diffusion, P4D and SneakyPrompt are gated by their authors",
    licence="yours",
    sampler=SAMPLER,
    sensitive=True,
)
IMAGES = Task(
    name="images",
    version=2,
    n=MOST,
    description="images that exist already (--images DIR): every protocol, and prompt match",
    rows=rows,
    detectors=(*BOXES_AND_Q16, "clip"),
    measures=(*(protocol.measure() for protocol in PROTOCOLS.values()), CLIP_T),
    source=YOURS,
    licence="yours",
    sampler=SAMPLER,
)
