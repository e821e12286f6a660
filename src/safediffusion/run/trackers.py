"""Shows a run's metrics in TensorBoard, Weights & Biases or Trackio, through accelerate's clients.

metrics.jsonl is written whether anyone watches or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from safediffusion.config import RunConfig, flatten
from safediffusion.errors import UserError
from safediffusion.files.run_folder import RunFolder

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "safediffusion"


def check_watchers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is missing."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"watch=[{name}] needs the package {name}; pip install {name}")


def tracker(name: str, folder: RunFolder) -> GeneralTracker:
    """A client that shows the run under its folder's name."""
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    run = folder.root.name
    if name == "tensorboard":
        return TensorBoardTracker("tensorboard", logging_dir=folder.root)
    if name == "wandb":
        return WandBTracker(PROJECT, name=run, dir=str(folder.root))
    return TrackioTracker(PROJECT, name=run)


@contextmanager
def watching(
    trackers: Sequence[GeneralTracker], config: RunConfig
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that shows a metrics row in all of them."""
    from safediffusion.training.recorder import flat

    settings = {key: v if isinstance(v, int | float | str) else str(v) for key, v in flatten(config).items()}
    for one in trackers:
        one.start()
        one.store_init_configuration(settings)

    def show(row: dict[str, Any]) -> None:
        values = {k.replace(".", "/"): v for k, v in flat(row).items() if isinstance(v, int | float)}
        for one in trackers:
            one.log(values, step=row["step"])

    try:
        yield show
    finally:
        for one in trackers:
            one.finish()
