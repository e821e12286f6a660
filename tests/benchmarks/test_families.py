"""The benchmark of families has a row for each of them, tiny and true."""

from pathlib import Path

from families import RECIPES, TINY
from true_size import kept_rows

from safediffusion.config import load_config
from safediffusion.diffusion.architectures import ARCHITECTURES
from tests.pipelines import FAMILIES


def test_every_family_and_every_known_architecture_can_be_measured() -> None:
    assert set(TINY) == set(FAMILIES)
    made = {ARCHITECTURES[load_config(recipe).model.path] for recipe in RECIPES.values()}
    assert made == set(ARCHITECTURES.values())


def test_a_model_that_is_measured_anew_replaces_its_own_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "true_size.json"
    assert kept_rows(path, ["a"]) == []
    path.write_text('{"rows": [{"model": "a"}, {"model": "b"}]}', encoding="utf-8")
    assert kept_rows(path, ["a"]) == [{"model": "b"}]
