"""The benchmark of families has a row for each of them, tiny and true."""

from pathlib import Path

from families import RECIPES, TINY, rates
from true_size import kept_rows

from safediffusion.config import load_config
from safediffusion.diffusion.architectures import ARCHITECTURES
from safediffusion.run.rates import Rate
from tests.pipelines import FAMILIES


def test_every_family_and_every_known_architecture_can_be_measured() -> None:
    assert set(TINY) == set(FAMILIES)
    made = {ARCHITECTURES[load_config(recipe).model.path] for recipe in RECIPES.values()}
    assert made == set(ARCHITECTURES.values())


def test_the_rate_of_a_family_is_that_of_all_its_measured_rounds_together() -> None:
    work = dict.fromkeys(("sample_flops", "decode_flops", "update_flops"), 1e15)
    work |= dict.fromkeys(
        ("sample_calls", "images", "update_calls", "elements", "reduced", "held_mib", "kept_mib"), 1.0
    )
    seconds = {"sample": 5.0, "decode": 1.0, "update": 4.0, "score": 100.0, "other": 100.0}
    rows = [
        {"pipeline": "A", "work": work, "seconds": seconds},
        {"pipeline": "B", "work": work, "seconds": seconds},
        {"pipeline": "A", "work": work, "seconds": seconds | {"update": 24.0}},
    ]
    assert rates(rows, "H100", "x") == [Rate("A", "H100", 150.0, "x"), Rate("B", "H100", 300.0, "x")]


def test_a_model_that_is_measured_anew_replaces_its_own_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "true_size.json"
    assert kept_rows(path, ["a"]) == []
    path.write_text('{"rows": [{"model": "a"}, {"model": "b"}]}', encoding="utf-8")
    assert kept_rows(path, ["a"]) == [{"model": "b"}]
