"""What `anchors check` and `world show` print, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from safediffusion.errors import UserError
from safediffusion.system.device import pick_device
from safediffusion.system.image_sheets import captioned_sheet, to_pil
from safediffusion.text.escaping import plain

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from safediffusion.steering.check import PolicyCheck

SHEET_SEED = 7


def check(name: str, encoder: str, prompts: str, images: Path | None = None) -> PolicyCheck:
    """Check a policy on labelled prompts.

    Args:
        name: a shipped policy or a YAML file.
        encoder: a setting of reward.encoder.
        prompts: world, or a file or dataset with a label column.
        images: a folder of images, each subfolder a group; None: only World's own.
    """
    from safediffusion.steering.anchors import load_safety_policy
    from safediffusion.steering.check import check_policy
    from safediffusion.steering.check_record import by_label, labelled_prompts
    from safediffusion.steering.encoders import load_encoder

    policy = load_safety_policy(name, encoder)
    safe, unsafe = by_label(labelled_prompts(prompts))
    groups = image_groups(images) if images else []
    return check_policy(policy, load_encoder(encoder, pick_device()), safe, unsafe, groups)


def image_groups(folder: Path) -> list[list[Tensor]]:
    """Images (3, h, w) in [0, 1], grouped by folder.

    Raises:
        UserError: an image cannot be read, or a folder holds only one.
    """
    from safediffusion.evaluation.sources.image_folder import ImageFolder
    from safediffusion.files.image_files import read_image

    groups: dict[Path, list[Tensor]] = {}
    for file in ImageFolder(folder).files:
        image = read_image(file)
        if isinstance(image, str):
            raise UserError(f"--images: {image}; remove or repair it")
        groups.setdefault(file.parent, []).append(image)
    for path, group in groups.items():
        if len(group) < 2:
            raise UserError(f"--images: {path} has one image; a group needs two or more that differ")
    return list(groups.values())


def describe(result: PolicyCheck) -> Iterator[str | Table]:
    """The result of a check as lines and tables, the verdict first."""
    interval = f"[{result.auc_low:.3f}, {result.auc_high:.3f}]"
    count = f"{len(result.safe_scores)} safe and {len(result.unsafe_scores)} unsafe prompts"
    yield f"{result.policy.name} on {result.encoder}: AUC {result.auc:.3f} {interval} over {count}"
    anchors = Table("anchor", "side", "adds to AUC", "", title="each anchor's contribution")
    for anchor in result.anchors:
        hurts = "hurts" if anchor.contribution < 0 else ""
        anchors.add_row(Text(plain(anchor.phrase)), anchor.side, f"{anchor.contribution:+.4f}", hurts)
    yield anchors
    yield curve_table(result)
    if result.deviations:
        d = result.deviations
        yield (
            f"over {d.pictures} images content deviates by {d.content:.4f} and safety by "
            f"{d.safety:.4f} x alpha: alike at alpha {d.equal_alpha:.2g}; below it content "
            "orders a group, above it safety"
        )
    yield f"recommended alpha: {result.recommended_alpha:g}, from {result.recommended_from}"


def curve_table(result: PolicyCheck) -> Table:
    """Steering strength by alpha; the last two columns are over images, where there are any."""
    columns = ["alpha", "prefers safe", "keeps content"]
    by_image = result.deviations.curve if result.deviations else ()
    columns += ["ordered by safety", "ordered by content"] if by_image else []
    curve = Table(*columns, "", title=f"steering strength, by {result.compared}")
    for i, point in enumerate(result.curve):
        values = [point.safety, point.content]
        values += [by_image[i].safety, by_image[i].content] if by_image else []
        mark = "recommended" if point.alpha == result.recommended_alpha else ""
        curve.add_row(f"{point.alpha:g}", *(f"{value:.1%}" for value in values), mark)
    return curve


def world_sheet(columns: int = 6) -> Image:
    """World's own images of the prompts of every task, one row per task."""
    from safediffusion.config.schema import EvaluateConfig
    from safediffusion.diffusion.load import load_model
    from safediffusion.diffusion.sample import generate
    from safediffusion.evaluation.tasks import WORLD

    sampler = EvaluateConfig()
    diffuser = load_model("world", pick_device())
    rows, captions = [], []
    for task in WORLD:
        prompts = [row["prompt"] for row in task.prompts(columns, SHEET_SEED)]
        images = generate(diffuser, prompts, range(columns), sampler.steps, sampler.guidance)
        rows.append([to_pil(image) for image in images])
        captions.append(f"{task.name}: {'; '.join(prompts)}")
    return captioned_sheet(rows, captions, [""] * columns)


def quality_table() -> Table:
    """The quality bar of World's networks and of its base model."""
    from safediffusion.evaluation.world_quality import base_bars, network_bars

    table = Table("World's quality bar", "value", "wanted", "n", "")
    for bar in (*network_bars(), *base_bars()):
        wanted = f">= {bar.low:g}" if bar.high is None else f"{bar.low:g} to {bar.high:g}"
        table.add_row(bar.name, f"{bar.value:.3f}", wanted, str(bar.n), "ok" if bar.met else "MISSED")
    return table
