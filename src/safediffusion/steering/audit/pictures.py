"""Whether the reward of pictures depends on the group they show: the second half of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from safediffusion.config.setting_types import SteeringMode
from safediffusion.errors import UserError
from safediffusion.statistics.resampling import percentiles, weights
from safediffusion.steering.audit.axes import Array
from safediffusion.steering.audit.shift import LEVEL, SEED
from safediffusion.steering.check import auc
from safediffusion.steering.direction import steer
from safediffusion.steering.encoders import Encoder

SCENES = 200  # of World, each in every skin tone
BATCH = 50  # images in a forward pass


@dataclass(frozen=True)
class PictureGroup:
    """The reward of one group's pictures.

    Attributes:
        alpha: of the reward.
        n: its pictures.
        shift: of its reward from the mean over groups in the same block, in standard deviations of the
            reward; low, high: interval, for all groups together.
        auc: chance that one of its pictures scores safer than an unsafe picture; None without unsafe ones.
    """

    alpha: float
    group: str
    n: int
    shift: float
    low: float
    high: float
    auc: float | None

    @property
    def named(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Pictures:
    """Pictures as embeddings.

    Attributes:
        images: unit rows (n, d).
        groups: of each picture; None for an unsafe picture, which belongs to none.
        blocks: pictures of one block are compared with each other: those of a prompt, or of a pair.
        prompts: unit rows (n, d) of the pictures' prompts; None: the reward is the safety score alone.
        paired: whether a block holds the same scene in every group, so that blocks are resampled and not
            the pictures in them.
    """

    images: Array
    groups: tuple[str | None, ...]
    blocks: tuple[str, ...]
    prompts: Array | None
    paired: bool


def picture_groups(
    pictures: Pictures, v: Array, alpha: float, mode: SteeringMode = "translate"
) -> list[PictureGroup]:
    """Reward by group at one alpha.

    Raises:
        UserError: fewer than two groups, or no block has a picture of every group.
    """
    names = sorted({group for group in pictures.groups if group is not None})
    if len(names) < 2:
        raise UserError(f"pictures of {len(names)} group(s); the column `group` has to name two or more")
    safety = pictures.images @ v
    unsafe = safety[[group is None for group in pictures.groups]]
    rewards = safety
    if pictures.prompts is not None:
        targets = steer(torch.from_numpy(pictures.prompts), torch.from_numpy(v), alpha, mode).numpy()
        rewards = (pictures.images * targets).sum(1)
    cells = complete_cells(pictures, rewards, names)
    shifts, draws = block_shifts(cells, pictures.paired)
    spread = np.std(
        [r for r, group in zip(rewards, pictures.groups, strict=True) if group is not None], ddof=1
    )
    found = []
    for i, name in enumerate(names):
        own = safety[[group == name for group in pictures.groups]]
        low, high = percentiles(draws[:, i] / spread, 1 - (1 - LEVEL) / len(names))
        area = auc(own, unsafe) if len(unsafe) else None
        found.append(PictureGroup(alpha, name, len(own), float(shifts[i] / spread), low, high, area))
    return found


def complete_cells(pictures: Pictures, rewards: Array, names: Sequence[str]) -> list[list[Array]]:
    """The rewards of each block by group, of the blocks that have every group."""
    found: dict[str, dict[str, list[float]]] = {}
    for block, group, value in zip(pictures.blocks, pictures.groups, rewards, strict=True):
        if group is not None:
            found.setdefault(block, {}).setdefault(group, []).append(float(value))
    whole = [
        [np.array(cells[name]) for name in names] for cells in found.values() if len(cells) == len(names)
    ]
    if not whole:
        raise UserError(
            f"no prompt has pictures of all {len(names)} groups, so nothing can be compared; "
            "give pictures of every group for each prompt, or leave the column `prompt` out"
        )
    return whole


def block_shifts(cells: Sequence[Sequence[Array]], paired: bool) -> tuple[Array, Array]:
    """Mean over blocks of each group's mean minus the mean of all groups, (groups,), and its draws."""
    table = np.array([[cell.mean() for cell in block] for block in cells])
    relative = table - table.mean(1, keepdims=True)
    rng = np.random.default_rng(SEED)
    if paired:
        return relative.mean(0), weights(len(relative), rng) @ relative
    drawn = np.stack([np.stack([weights(len(c), rng) @ c for c in block], 1) for block in cells])
    return relative.mean(0), (drawn - drawn.mean(2, keepdims=True)).mean(0)


def skin_tones(encoder: Encoder, scenes: int = SCENES) -> Pictures:
    """The same scenes of World in every skin tone, which no caption mentions, and unsafe scenes beside them.

    The pictures of a scene differ in nothing else, so their rewards do for no other reason.
    """
    from safediffusion.world.captions import benign_row, benign_scene
    from safediffusion.world.drawing import SKIN
    from safediffusion.world.networks.images import render_batch
    from safediffusion.world.scenes import CATEGORIES, make_harm

    rng = np.random.default_rng(SEED)
    rows = [row for row in (benign_row(rng, held_out=None) for _ in range(4 * scenes)) if row["person"]]
    rows = rows[:scenes]
    plain = [benign_scene(rng, row) for row in rows]
    drawn = [
        replace(scene, doll=replace(scene.doll, skin=tone)) for scene in plain for tone in SKIN if scene.doll
    ]
    harm = [make_harm(rng, CATEGORIES[i % len(CATEGORIES)]) for i in range(scenes // 2)]
    shown = [*drawn, *harm]
    parts = [encoder.image(render_batch(shown[i : i + BATCH])) for i in range(0, len(shown), BATCH)]
    images = torch.cat(parts).cpu().double().numpy()
    tones = [f"tone {i + 1} of {len(SKIN)}" for i in range(len(SKIN))]
    texts = encoder.text([row["prompt"] for row in rows]).cpu().double().numpy().repeat(len(SKIN), 0)
    blocks = [str(i) for i in range(len(rows)) for _ in SKIN]
    return Pictures(
        images,
        (*tones * len(rows), *[None] * len(harm)),
        (*blocks, *[""] * len(harm)),
        np.concatenate([texts, np.zeros((len(harm), texts.shape[1]))]),
        paired=True,
    )
