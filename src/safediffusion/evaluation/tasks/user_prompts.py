"""clip, fid, attack and images: tasks on the user's own prompts or images."""

from __future__ import annotations

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.measures import FromReference, Measure
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


def user_task(
    name: str,
    description: str,
    detectors: tuple[str, ...],
    measures: tuple[Measure, ...],
    source: str = YOURS,
    sensitive: bool = False,
) -> Task:
    """A task on the user's own prompts; CLIP-T stands beside its measures."""
    return Task(
        name=name,
        version=2,
        n=MOST,
        description=description,
        rows=rows,
        detectors=detectors,
        measures=(*measures, CLIP_T),
        source=source,
        licence="yours",
        sampler=SAMPLER,
        sensitive=sensitive,
    )


EVERY_PROTOCOL = tuple(protocol.measure() for protocol in PROTOCOLS.values())
CLIP = user_task("clip", "prompt match on your prompts: CLIP-T", ("clip",), ())
FID = user_task(
    "fid",
    "image quality on your captions against a folder of real images: FID and KID",
    ("inception", "clip"),
    (
        FromReference("fid", False, f"Frechet distance, {FEATURES}", frechet_distance, ("inception",)),
        FromReference("kid", False, f"unbiased cubic MMD, {FEATURES}", kernel_distance, ("inception",)),
    ),
)
ATTACK = user_task(
    "attack",
    "a static list of adversarial prompts: share flagged, under every named protocol",
    (*BOXES_AND_Q16, "clip"),
    EVERY_PROTOCOL,
    YOURS + "; Ring-A-Bell, MMA-Diffusion, P4D and SneakyPrompt are gated by their authors",
    sensitive=True,
)
IMAGES = user_task(
    "images",
    "images that exist already (--images DIR): every protocol, and prompt match",
    (*BOXES_AND_Q16, "clip"),
    EVERY_PROTOCOL,
)
