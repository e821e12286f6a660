"""Sends a run's metrics to TensorBoard, Weights & Biases or Trackio, through accelerate's trackers.

metrics.jsonl is written with and without trackers.
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


def check_trackers(names: Sequence[str]) -> None:
    """Check that the package of every tracker is installed.

    Raises:
        UserError: a package is missing.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"watch=[{name}] needs the package {name}; pip install {name}")


def new_tracker(name: str, folder: RunFolder) -> GeneralTracker:
    """Return a tracker that shows the run under the name of its folder."""
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    run = folder.root.name
    if name == "tensorboard":
        return TensorBoardTracker("tensorboard", logging_dir=folder.root)
    if name == "wandb":
        return WandBTracker(PROJECT, name=run, dir=str(folder.root))
    return TrackioTracker(PROJECT, name=run)


@contextmanager
def tracking(
    trackers: Sequence[GeneralTracker], config: RunConfig
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that sends a row of metrics to all trackers; they are closed at the end."""
    from safediffusion.training.recorder import flat

    settings = {key: v if isinstance(v, int | float | str) else str(v) for key, v in flatten(config).items()}
    for tracker in trackers:
        tracker.start()
        tracker.store_init_configuration(settings)

    def track(row: dict[str, Any]) -> None:
        values = {k.replace(".", "/"): v for k, v in flat(row).items() if isinstance(v, int | float)}
        for tracker in trackers:
            tracker.log(values, step=row["step"])

    try:
        yield track
    finally:
        for tracker in trackers:
            tracker.finish()
