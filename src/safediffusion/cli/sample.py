"""`safediffusion sample`: images from one model, or from two side by side."""

from __future__ import annotations

import math
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.files.atomic import write_image
from safediffusion.models.images import Sampler, check_request, generate_images, with_sampler
from safediffusion.models.loaded import Changes
from safediffusion.models.named import run_config
from safediffusion.system.image_sheets import captioned_sheet, join_sheets, to_pil
from safediffusion.system.progress import progress


def draw(
    model: str,
    prompts: list[str],
    seed: int,
    out: Path,
    other: str | None = None,
    changes: Changes | None = None,
    sampler: Sampler | None = None,
) -> None:
    """Write an image of each prompt; with `other`, the images of both models for the same seeds.

    Args:
        model: run folder, diffusers folder, hub id, or world.
        seed: of the first prompt; the next prompts take the next seeds.
        out: a PNG.
        other: the model that stands on the left for comparison, drawn by the first one's sampler.
        changes: of the first model.
        sampler: of both.

    Raises:
        UserError: a prompt sexualises minors, which no option lifts; a number is out of bounds; or both
            parts and a strength are given.
        RunError: an image is not finite; nothing is written.
    """
    changes = changes or Changes()
    if changes.parts and changes.strength is not None:
        raise UserError(
            "--strength lies between a run's base and its result, which have no replaced part; "
            "leave out --strength, or --unet and --text-encoder"
        )
    models = [other, model] if other else [model]
    check_request(models, prompts, seed)
    config = with_sampler(run_config(model, changes.load), sampler or Sampler())
    with progress("sample", len(models)) as line:
        columns = []
        for name, how in zip(models, [Changes(), changes][-len(models) :], strict=True):
            columns.append(generate_images(name, config, prompts, seed, how))
            line.update()
    if len(models) == len(prompts) == 1:
        write_image(out, to_pil(columns[0][0]))
        return
    dialled = "" if changes.strength is None else f", strength {changes.strength:g}"
    titles = [*models[:-1], model + dialled]
    pages = [
        captioned_sheet([[to_pil(column[i]) for column in columns]], captions=[prompt], titles=titles)
        for i, prompt in enumerate(prompts)
    ]
    write_image(out, join_sheets(pages, columns=math.ceil(math.sqrt(len(pages)))))
