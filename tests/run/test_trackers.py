import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker
from PIL import Image

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.files.run_folder import RunFolder
from safediffusion.run.trackers import check_trackers, new_tracker, tracking


class Notebook(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "notebook"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__(_blank=True)
        self.settings: dict[str, Any] = {}
        self.rows: list[tuple[int | None, dict[str, Any]]] = []
        self.images: list[tuple[int | None, tuple[int, int]]] = []
        self.open = False

    def start(self) -> None:
        self.open = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.rows.append((step, values))

    def log_images(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.images += [(step, image.size) for image in values["samples"]]

    def finish(self) -> None:
        self.open = False


def test_numbers_of_a_row_are_shown_under_nested_names_and_the_tracker_is_closed(tmp_path: Path) -> None:
    notebook = Notebook()
    with tracking([notebook], RunConfig(seed=3), RunFolder(tmp_path)) as show:
        assert notebook.open
        show({"step": 7, "loss": 0.5, "seconds": {"score": 2}, "kl_ref": None, "trained_timesteps": [1]})
    assert notebook.rows == [(7, {"step": 7, "loss": 0.5, "seconds/score": 2})]
    assert notebook.settings["seed"] == 3 and notebook.settings["evaluate.tasks"].startswith("[")
    assert not notebook.open


def sheets(folder: RunFolder, *steps: int) -> None:
    for step in steps:
        folder.samples.mkdir(exist_ok=True)
        Image.new("RGB", (20 + step, 30), "red").save(folder.sheet(step))


def test_sample_sheets_follow_the_rounds_that_have_one(tmp_path: Path) -> None:
    notebook, folder = Notebook(), RunFolder(tmp_path)
    with tracking([notebook], RunConfig(), folder) as show:
        sheets(folder, 0)
        show({"step": 1})
        sheets(folder, 2)
        show({"step": 2})
        show({"step": 3})
    assert notebook.images == [(0, (20, 30)), (2, (22, 30))]


def test_tensorboard_shows_numbers_and_sheets(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `track`")
    from tensorboard.backend.event_processing.event_accumulator import (  # pyright: ignore[reportMissingImports]
        EventAccumulator,
    )

    folder = RunFolder(tmp_path)
    sheets(folder, 5)
    with tracking([new_tracker("tensorboard", folder)], RunConfig(), folder) as show:
        show({"step": 5, "loss": 0.5})
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(5, 0.5)]
    (image,) = found.Images("samples")
    assert (image.step, image.width, image.height) == (5, 25, 30)


def test_a_missing_tracker_is_named_with_the_command_that_installs_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        check_trackers(["wandb"])
