"""Sends a run's metrics and sample sheets to TensorBoard, Weights & Biases or Trackio, through accelerate.

metrics.jsonl and samples/ are written with and without trackers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

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


class Tracks:
    """Sends what a run writes to its trackers.

    Args:
        trackers: that were started.
        folder: of the run.
    """

    def __init__(self, trackers: Sequence[GeneralTracker], folder: RunFolder) -> None:
        self.trackers, self.folder = trackers, folder

    def __call__(self, row: dict[str, Any]) -> None:
        """Send the numbers of a row of metrics and, if the round has one, its sample sheet."""
        from safediffusion.training.recorder import flat

        step = row["step"]
        values = {k.replace(".", "/"): v for k, v in flat(row).items() if isinstance(v, int | float)}
        if step == 1:
            self.send_sheet(0)  # of the untrained model; some trackers refuse a step before the last one
        for tracker in self.trackers:
            tracker.log(values, step=step)
        self.send_sheet(step)

    def send_sheet(self, step: int) -> None:
        """Send the sample sheet that was written after `step` rounds, veiled as the file is."""
        file = self.folder.sheet(step)
        if self.trackers and file.is_file():
            with Image.open(file) as image:
                for tracker in self.trackers:
                    log_image(tracker, image.convert("RGB"), step)


def log_image(tracker: Any, image: Image.Image, step: int) -> None:
    """Send one image under the name `samples`; accelerate has no common call for this."""
    if tracker.name == "tensorboard":
        tracker.log_images({"samples": np.asarray(image)[None]}, step=step, dataformats="NHWC")
    elif tracker.name == "trackio":
        import trackio  # pyright: ignore[reportMissingImports]

        tracker.log({"samples": trackio.Image(image)}, step=step)
    else:
        tracker.log_images({"samples": [image]}, step=step)


@contextmanager
def tracking(trackers: Sequence[GeneralTracker], config: RunConfig, folder: RunFolder) -> Iterator[Tracks]:
    """Start all trackers with the settings of the run; they are closed at the end."""
    settings = {key: v if isinstance(v, int | float | str) else str(v) for key, v in flatten(config).items()}
    for tracker in trackers:
        tracker.start()
        tracker.store_init_configuration(settings)
    try:
        yield Tracks(trackers, folder)
    finally:
        for tracker in trackers:
            tracker.finish()
