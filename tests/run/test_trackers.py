import sys
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker

from safediffusion.config import RunConfig
from safediffusion.errors import UserError
from safediffusion.run.trackers import check_trackers, tracking


class Notebook(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "notebook"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__(_blank=True)
        self.settings: dict[str, Any] = {}
        self.rows: list[tuple[int | None, dict[str, Any]]] = []
        self.open = False

    def start(self) -> None:
        self.open = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.open = False


def test_numbers_of_a_row_are_shown_under_nested_names_and_the_tracker_is_closed() -> None:
    notebook = Notebook()
    with tracking([notebook], RunConfig(seed=3)) as show:
        assert notebook.open
        show({"step": 7, "loss": 0.5, "seconds": {"score": 2}, "kl_ref": None, "trained_timesteps": [1]})
    assert notebook.rows == [(7, {"step": 7, "loss": 0.5, "seconds/score": 2})]
    assert notebook.settings["seed"] == 3 and notebook.settings["evaluate.tasks"].startswith("[")
    assert not notebook.open


def test_a_missing_tracker_is_named_with_the_command_that_installs_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        check_trackers(["wandb"])
