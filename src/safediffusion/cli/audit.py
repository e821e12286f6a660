"""What `anchors audit` reads and prints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.prompts.sources import column_called
from safediffusion.prompts.table import FORMATS, TableRow, is_table, read_table, text_of
from safediffusion.system.device import pick_device

if TYPE_CHECKING:
    from safediffusion.steering.audit.audit import Audit
    from safediffusion.steering.audit.axes import Array
    from safediffusion.steering.audit.pictures import Pictures
    from safediffusion.steering.encoders import Encoder

GROUPS = "groups"  # name of the table in a folder of pictures
COLUMNS = ("file", "group", "prompt", "pair", "label")


def audit(
    name: str, encoder: str, prompts: str, images: Path | None = None, alpha: float | None = None
) -> Audit:
    """Audit a policy at an alpha.

    Args:
        name: a shipped policy or a YAML file.
        encoder: a setting of reward.encoder.
        prompts: world, or a file or dataset with a label column.
        images: a folder of pictures with a table of their groups; None: with World's encoder World's own.
        alpha: of the reward; None is what the policy recommends.

    Raises:
        UserError: something given is not accepted.
    """
    from safediffusion.steering.anchors import load_safety_policy
    from safediffusion.steering.audit.audit import Labelled, Steering, audit_policy
    from safediffusion.steering.check_record import labelled_prompts
    from safediffusion.steering.encoders import load_encoder

    if alpha is not None and not (math.isfinite(alpha) and alpha >= 0):
        raise UserError(f"--alpha is {alpha:g}; set a number of at least 0, such as 0.5")
    policy = load_safety_policy(name, encoder)
    labelled = Labelled.of(labelled_prompts(prompts))
    rows = read_groups(images) if images else []
    loaded = load_encoder(encoder, pick_device())
    pictures = embed_pictures(images, rows, loaded) if images else None
    steering = Steering(policy.alpha if alpha is None else alpha)
    return audit_policy(policy, loaded, labelled, steering, pictures)


def read_groups(folder: Path) -> list[dict[str, str]]:
    """The table of a folder of pictures: file, and group or the label unsafe; perhaps prompt and pair.

    Raises:
        UserError: there is no such table, or a row of it is not accepted.
    """
    tables = (
        [file for file in sorted(folder.glob(f"{GROUPS}.*")) if is_table(file)] if folder.is_dir() else []
    )
    if len(tables) != 1:
        raise UserError(
            f"--images {folder} has {len(tables)} tables called {GROUPS} ({FORMATS}); put one there, with a "
            "row for each image and the columns file and group"
        )
    table = read_table(tables[0])
    columns = {name: found for name in COLUMNS if (found := column_called(name, table.columns))}
    if missing := [name for name in ("file", "group") if name not in columns]:
        raise UserError(f"{tables[0]} has no column `{missing[0]}`; it has: {', '.join(table.columns)}")
    return [picture_row(row, f"{tables[0]}, {row.where}", columns) for row in table.rows]


def picture_row(row: TableRow, where: str, columns: dict[str, str]) -> dict[str, str]:
    """The cells of one picture, by the names of COLUMNS; the group is empty for an unsafe picture.

    Raises:
        UserError: a cell is missing, or not accepted.
    """
    found = {name: text_of(row.cells, column, where).strip() for name, column in columns.items()}
    label = found.get("label", "").lower()
    if label not in ("", "benign", "unsafe"):
        raise UserError(
            f"{where}: label {found['label']!r} is not known; use benign, unsafe, or leave it empty"
        )
    if label == "unsafe":
        found["group"] = ""
    check_cells(found, where)
    return found


def check_cells(found: dict[str, str], where: str) -> None:
    """Refuse a row of a picture whose cells are empty, lead out of the folder, or break the minors rule."""
    shown = bool(found["group"])
    for name in ("prompt", "pair"):
        if shown and found.get(name) == "":
            raise UserError(
                f"{where}: `{name}` is empty; give one for every picture, or leave the column out"
            )
    if not found["file"] or not (shown or found.get("label", "").lower() == "unsafe"):
        raise UserError(f"{where}: the file or its group is empty; give both, or the label unsafe")
    if Path(found["file"]).is_absolute() or ".." in Path(found["file"]).parts:
        raise UserError(f"{where}: {found['file']!r} leads out of the folder; give names below it")
    if sexualises_minors(f"{found.get('prompt', '')} {found['group']}"):
        raise UserError(f"{where}: it mentions minors in a sexual context; such pictures are never used")


def embed_pictures(folder: Path, rows: list[dict[str, str]], encoder: Encoder) -> Pictures:
    """The pictures of a table as embeddings; those of a pair, else of a prompt, are compared."""
    from safediffusion.steering.audit.axes import embed
    from safediffusion.steering.audit.pictures import Pictures

    paired, prompted = (any(row.get(name) for row in rows) for name in ("pair", "prompt"))
    return Pictures(
        embed_images([folder / row["file"] for row in rows], encoder),
        tuple(row["group"] or None for row in rows),
        tuple(row["pair"] if paired else row.get("prompt", "") for row in rows),
        embed(encoder, [row["prompt"] for row in rows]) if prompted else None,
        paired,
    )


def embed_images(files: list[Path], encoder: Encoder) -> Array:
    """Unit rows (n, d) of image files of any sizes.

    Raises:
        UserError: one cannot be read.
    """
    import numpy as np

    from safediffusion.files.image_files import read_image

    rows = [np.zeros((0, encoder.dim))]
    for file in files:
        image = read_image(file)
        if isinstance(image, str):
            raise UserError(f"--images: {image}; remove its row, or repair it")
        rows.append(encoder.image(image[None]).cpu().double().numpy())
    return np.concatenate(rows)


def describe(found: Audit) -> Iterator[RenderableType]:
    """The result of an audit as lines and a table, the verdict first."""
    from safediffusion.report.bias import LEGEND, bias_sentences, bias_table
    from safediffusion.report.tables import terminal_table

    record = found.record()
    yield f"{found.policy} on {found.encoder}: {found.verdict}"
    yield f"G {found.gap:.3f}, AUC {found.auc:.3f}, alpha {found.alpha:g}, threshold {found.threshold:g}"
    yield terminal_table(bias_table(record), LEGEND)
    yield from bias_sentences(record)


def check_limit(limit: float | None) -> None:
    """Refuse a limit that nothing or everything is above.

    Raises:
        UserError: it is not a finite number of at least 0.
    """
    if limit is not None and not (math.isfinite(limit) and limit >= 0):
        raise UserError(f"--fail-above {limit:g} is not a share of G; give 0 or more, such as 0.1")


def broken_limit(found: Audit, limit: float | None) -> str | None:
    """One line if the largest shift is above the limit."""
    worst = found.worst
    if limit is None or abs(worst.shift) <= limit:
        return None
    return f"the shift of {worst.group} is {worst.shift:+.4f} of G, above --fail-above {limit:g}"
