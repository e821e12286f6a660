"""The table of all safety methods: its settings, how one is chosen, what is kept, table and plot."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from safediffusion.baselines.concepts import read_concepts
from safediffusion.baselines.make import with_options
from safediffusion.baselines.registry import find_method
from safediffusion.baselines.sampling import load_model, named_method
from safediffusion.config import diff, load_config


def judgement(
    unsafe: float, composition: float = 0.5, clip_t: float = 60.0, seed: int | None = None, lost: float = 0.0
) -> Any:
    """A line of the records; `lost` is the share of unrecognisable images."""
    from baselines_tables import CLIP_T, COLUMNS, COMPOSITION, UNRECOGNISABLE, UNSAFE

    values = dict.fromkeys(COLUMNS, 0.2) | {UNSAFE: unsafe, COMPOSITION: composition, CLIP_T: clip_t}
    values[UNRECOGNISABLE] = lost
    metrics = {key: {"value": v, "ci_low": 0.9 * v, "ci_high": 1.1 * v} for key, v in values.items()}
    return {"settings": "made", "seed": seed, "metrics": metrics, "passes": 32, "seconds": 3.0}


@pytest.fixture
def plan(monkeypatch, tmp_path: Path) -> Any:
    """The whole table with a folder of its own for results and the plot."""
    import baselines
    import readme  # noqa: F401 (it keeps the folder of results that there is when it is first imported)
    import training_runs

    monkeypatch.setattr(training_runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(baselines, "DOCS", tmp_path / "images")
    monkeypatch.setattr(baselines, "world_hash", lambda: "01234567")
    return baselines.parse(["--out", str(tmp_path / "runs")])


def test_every_setting_is_accepted_and_no_two_of_a_method_are_the_same():
    from baselines_rows import METHODS, Bare, Trained, WhileSampling

    assert len(METHODS) > 12
    for name, settings in METHODS.items():
        assert (
            len({str(made) for made in settings}) == len(settings) == (1 if name in ("base", "ours") else 4)
        )
        for made in settings:
            if isinstance(made, Trained):
                load_config(made.recipe, list(made.settings))
            elif isinstance(made, WhileSampling):
                assert not made.concepts or read_concepts(made.concepts).phrases
            elif not isinstance(made, Bare):
                with_options(find_method(made.method), made.options)


def test_nft_may_have_the_rounds_and_the_kl_of_recipe_world():
    from baselines_rows import METHODS

    whole = METHODS["nft"][-1]
    rival, ours = load_config(whole.recipe, list(whole.settings)), load_config("world")
    assert diff(rival, ours) == ["train.algorithm"]


def test_a_recipe_that_changes_is_judged_again(plan: Any, tmp_path: Path):
    import baselines
    from baselines_rows import Trained

    def asked(text: str) -> dict[str, Any]:
        (tmp_path / "mine.yaml").write_text(f"extends: world\n{text}", encoding="utf-8")
        return baselines.asked(plan, Trained(str(tmp_path / "mine.yaml")), plan.judging, 0)

    assert asked("train: {steps: 7}") != asked("train: {steps: 8}")
    assert asked("evaluate: {n: 7}") == asked("evaluate: {n: 14}")  # the benchmark judges by itself


def test_the_tuned_setting_loses_least_of_safety_form_composition_and_prompt_match(monkeypatch, plan: Any):
    import baselines

    found = {
        "world": judgement(0.5),
        "world+negative": judgement(0.4),
        "world+negative:phrases": judgement(0.1, 0.3),
        "world+negative:pairs": judgement(0.2, 0.6),
    }
    monkeypatch.setattr(
        baselines, "judged", lambda plan, name, made, *_: found.get(str(made), judgement(0.1, 0.5, 30.0))
    )
    settings, made = baselines.tuned(plan, "negative")
    assert (settings, str(made)) == ("other 2", "world+negative:pairs")
    assert baselines.loss(judgement(0.1, 0.4, 45.0), judgement(0.5)) == pytest.approx(0.1 + 0.2 + 0.25)
    assert baselines.loss(judgement(0.1, lost=0.3), judgement(0.5)) == pytest.approx(0.1 + 0.3)


def test_judgements_for_tuning_share_no_seed_with_the_table(plan: Any):
    assert plan.tuning.seed != plan.judging.seed
    from baselines import TUNING_SEED

    assert TUNING_SEED not in plan.seeds


def test_a_judgement_on_record_is_not_made_again_and_another_world_is_another_one(monkeypatch, plan: Any):
    import baselines
    from baselines_rows import Trained

    calls = []
    result = {"metrics": judgement(0.3)["metrics"], "passes": 32, "seconds": 3.0}
    monkeypatch.setattr(baselines, "measured", lambda *a: calls.append(a) or result)
    for _ in range(2):
        row = baselines.judged(plan, "ours", Trained("world"), plan.judging, 1)
    assert len(calls) == 1 and row["seed"] == 1 and row["metrics"] == result["metrics"]
    monkeypatch.setattr(baselines, "world_hash", lambda: "89abcdef")
    baselines.judged(plan, "ours", Trained("world"), plan.judging, 1)
    assert len(calls) == 2


@pytest.mark.parametrize(("suffix", "per_step"), [("", 2), ("+sld-medium", 3), ("+negative", 2)])
def test_all_rows_of_the_network_are_counted(suffix: str, per_step: int):
    import baselines

    _, passes = baselines.one_picture(load_model(f"world{suffix}"))
    assert passes == per_step * baselines.SAMPLER["steps"]


def test_the_page_has_a_row_per_setting_with_intervals_and_a_plot(monkeypatch, plan: Any):
    import baselines

    monkeypatch.setattr(
        baselines, "judged", lambda p, name, made, judging, seed: judgement(
            0.1 + 0.1 * seed, seed=seed if made.by_chance else None
        ) | {"settings": str(made)},
    )  # fmt: skip
    lines = [line for name in ("base", "negative", "ours") for line in baselines.rows_of(plan, name)]
    text = baselines.write(plan, lines)
    assert [line.seeds for line in lines] == [0, 0, 3]
    assert "| ours" in text and "20.0 [" in text and "`train world`" in text
    saved = json.loads((plan.records.parent / "baselines.json").read_text())
    assert saved["lines"][2]["values"]["world-i2p/inappropriate_rate"]["value"] == pytest.approx(0.2)
    import baselines_tables

    assert baselines_tables.short_table(saved).count("\n") == 5
    assert Image.open(baselines.DOCS / "baselines.png").size[0] > 900


def test_images_that_show_nothing_win_no_place_in_the_plot(monkeypatch, tmp_path: Path):
    import baselines_tables as tables

    drawn = []
    monkeypatch.setattr(tables, "draw", lambda axes, lines, key: drawn.append([line.name for line in lines]))
    empty = judgement(0.0)
    empty["metrics"][tables.UNRECOGNISABLE] |= {"value": 0.6}
    lines = [
        tables.Line.of(name, "default", [row]) for name, row in (("base", judgement(0.5)), ("sft", empty))
    ]
    tables.plot(lines, tmp_path / "plot.png")
    assert drawn == [["base"], ["base"]]


def test_what_the_table_calls_a_method_that_acts_while_sampling_is_its_name_on_the_command_line():
    from baselines_rows import METHODS, WhileSampling

    acting = [made for tried in METHODS.values() for made in tried if isinstance(made, WhileSampling)]
    assert acting
    for made in acting:
        assert named_method(str(made)) == (made.method, made.concepts)
