"""The study of unseen categories: cells, table and figures from made-up records, and how it resumes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from safediffusion.config import load_config
from safediffusion.run import train as training
from safediffusion.run.prompts import run_prompts
from safediffusion.world.scenes import CATEGORIES
from tests.pipelines import tiny_pipeline


def values(rate: float, unseen: float, composition: float = 0.5) -> dict[str, float]:
    """Metrics of a model: the rate of the sexual category, of every other one, and the rest."""
    from generalisation_tables import CLIP_T, COMPOSITION, FID, KINDS, UNRECOGNISABLE, UNSAFE, harm_of

    by_category = {each: rate if each == "sexual" else unseen for each in CATEGORIES}
    return {
        **{f"{UNSAFE}/{each}": value for each, value in by_category.items()},
        **{
            harm_of(each, kind): value if kind == "implicit" else 1.0
            for each, value in by_category.items()
            for kind in KINDS
        },
        UNRECOGNISABLE: 0.01, CLIP_T: 60.0 + composition, FID: 2.0 * composition, COMPOSITION: composition,
    }  # fmt: skip


def record(plan: Any, cell: str, seed: int, unseen: float, composition: float = 0.5) -> dict[str, Any]:
    """A line of the records as `run` writes it."""
    from generalisation import world_hash
    from generalisation_cells import CELLS

    return {
        "cell": cell, "seed": seed, "settings": plan.words(cell, seed), "trained": CELLS[cell].trained,
        "training": plan.training(cell, seed),
        "world": world_hash(), "composition_images": plan.composition,
        "images": {"world-i2p": 140, "world-geneval": 240},
        "before": values(0.5, 0.5), "after": values(0.1, unseen, composition),
    }  # fmt: skip


@pytest.fixture
def plan(monkeypatch, tmp_path: Path) -> Any:
    """The full study with a folder of its own for results and figures."""
    import generalisation
    import readme  # noqa: F401 (it keeps the folder of results that there is when it is first imported)
    import training_runs

    monkeypatch.setattr(training_runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(generalisation, "DOCS", tmp_path / "images")
    monkeypatch.setattr(generalisation, "world_hash", lambda: "01234567")
    return generalisation.parse([])


def append(plan: Any, *rows: dict[str, Any]) -> None:
    plan.records.parent.mkdir(exist_ok=True)
    with plan.records.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)


def test_every_cell_is_a_valid_run_on_the_categories_that_it_names():
    from generalisation import parse
    from generalisation_cells import CELLS, RECIPE

    plan, seen = parse([]), []
    for name, cell in CELLS.items():
        config = load_config(RECIPE, plan.words(name, 0))
        assert {row.category for row in run_prompts(config).rows} - {None} == set(cell.trained), name
        assert config not in seen, f"{name} is the same run as another cell"
        seen.append(config)
    assert seen[0].model_copy(update={"evaluate": None}) == load_config(RECIPE).model_copy(
        update={"evaluate": None}
    )


def test_unseen_categories_are_those_that_a_cell_was_not_trained_on():
    from generalisation_tables import QUANTITIES, Run

    run = Run(("sexual", "violence"), values(0.5, 0.4), values(0.1, 0.3))
    assert len(run.unseen) == 5 and "violence" not in run.unseen
    assert QUANTITIES["trained"](run) == pytest.approx((0.1 + 0.3) / (0.5 + 0.4))
    assert QUANTITIES["unseen"](run) == pytest.approx(0.75)
    assert QUANTITIES["unseen/explicit"](run) == 1 and QUANTITIES["unseen/implicit"](run) == pytest.approx(
        0.75
    )
    assert QUANTITIES["category/sexual"](run) == pytest.approx(0.2)


def test_cell_enters_the_table_with_all_its_seeds_and_an_interval_over_them(plan, tmp_path):
    from generalisation import write

    append(plan, *(record(plan, "recipe", seed, 0.5) for seed in plan.seeds))
    append(plan, *(record(plan, "free", seed, 0.2 + 0.05 * seed, 0.48) for seed in plan.seeds))
    append(plan, record(plan, "alpha-3", 0, 0.1))  # its other seeds are missing
    text = write(plan)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == ["`recipe`", "`free`"]
    spread = 4.3027 * 0.1 / 3**0.5  # Student's interval of 0.4, 0.5, 0.6
    assert f"| 0.50 [{0.5 - spread:.2f}, {0.5 + spread:.2f}] " in rows["`free`"]
    assert "| -0.020 [-0.020, -0.020] " in rows["`free`"] and "| 0.96 " in rows["`free`"]
    result = json.loads((tmp_path / "results/generalisation.json").read_text(encoding="utf-8"))
    assert result["command"] == "python benchmarks/generalisation.py"
    assert result["cells"]["free"]["estimates"]["category/hate"]["value"] == pytest.approx(0.5)
    for name in ("generalisation", "frontier-generalisation"):
        with Image.open(tmp_path / "images" / f"{name}.png") as image:
            assert min(image.size) > 200 and len(set(image.convert("RGB").getdata())) > 20


def test_base_without_harm_leaves_a_dash_and_figures_without_the_value(plan, tmp_path):
    from generalisation import write
    from generalisation_tables import UNSAFE

    rows = [record(plan, "recipe", seed, 0.5) for seed in plan.seeds]
    for row in rows:
        row["before"][f"{UNSAFE}/hate"] = 0.0
        row["before"][f"{UNSAFE}/sexual"] = 0.0
    append(plan, *rows)
    line = next(line for line in write(plan).splitlines() if line.startswith("| `recipe`"))
    assert line.split("|")[3].strip() == "-"  # trained
    assert (tmp_path / "images/generalisation.png").is_file()


def test_records_of_other_settings_or_of_another_world_are_no_substitute(plan, monkeypatch):
    import generalisation

    append(plan, *(record(plan, "recipe", seed, 0.5) for seed in plan.seeds))
    assert list(generalisation.finished(plan)) == ["recipe"]
    assert generalisation.is_recorded(plan, "recipe", 2) and not generalisation.is_recorded(plan, "free", 2)
    assert not generalisation.finished(generalisation.parse(["--set", "train.ema=0.5"]))
    with monkeypatch.context() as other:
        other.setattr(generalisation, "training_digest", lambda *_: "of a recipe that has changed")
        assert not generalisation.finished(plan)
    monkeypatch.setattr(generalisation, "world_hash", lambda: "76543210")
    assert not generalisation.finished(plan)


def test_undominated_cells_are_those_that_none_beats():
    from generalisation_figures import undominated

    cells = {"base": (1.0, 0.0), "free": (0.7, -0.02), "worse": (0.8, -0.03), "same": (0.7, -0.02)}
    assert undominated(cells) == ["base", "free", "same"]


def test_sizes_and_seeds_follow_the_options(capsys):
    from generalisation import parse
    from generalisation_cells import CELLS

    full, tuning, short = parse([]), parse(["--tuning"]), parse(["--short", "--only", "free"])
    assert (full.seeds, full.cells, full.composition) == ((0, 1, 2), tuple(CELLS), 240)
    assert (tuning.seeds, tuning.name, tuning.cells) == ((10, 11, 12), "generalisation_tuning", full.cells)
    assert (short.seeds, short.cells, short.name) == ((0,), ("free",), "generalisation_short")
    assert "evaluate.n=140" in full.settings and "evaluate.n=28" in short.settings
    for words, reason in ((["--set", "train.stepps=1"], "did you mean train.steps"), (["--only", "x"], "x")):
        with pytest.raises(SystemExit) as end:
            parse(words)
        assert end.value.code == 2 and reason in capsys.readouterr().err


def test_page_has_the_figures_with_the_table(plan):
    from generalisation import write
    from generalisation_tables import block
    from readme import filled

    append(plan, *(record(plan, "recipe", seed, 0.5) for seed in plan.seeds))
    table = write(plan)
    result = json.loads(plan.records.with_suffix(".json").read_text(encoding="utf-8"))
    text = block(result)
    assert text.startswith(table) and text.count("generalisation.png)") == 2
    page = "x <!-- generalisation: written by benchmarks/readme.py -->\nNot measured yet.\n<!-- end --> y"
    assert "Not measured" not in filled(page, "generalisation", text)


def test_tiny_study_is_run_recorded_and_not_repeated(tmp_path, monkeypatch, judges):
    import generalisation
    import training_runs

    trained = []

    def train(recipe: str, words: list[str], out: Path) -> dict[str, Any]:
        config = load_config(recipe, words)
        if not (out / "summary.json").exists():
            trained.append(f"{out.parent.name}/{out.name}")
        return training_runs.read_summary(training.train(config, out).root)

    evaluated = []
    evaluate = generalisation.evaluate

    def judge(model: object, *rest: Any) -> dict[str, dict[str, Any]]:
        evaluated.append("base" if model == "world" else "trained")
        return evaluate(tmp_path / "tiny" if model == "world" else model, *rest)  # type: ignore[arg-type]

    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(generalisation, "train", train)
    monkeypatch.setattr(generalisation, "evaluate", judge)
    monkeypatch.setattr(training_runs, "RESULTS", tmp_path / "results")
    (tmp_path / "p.csv").write_text(
        "prompt,label,category\na red square,benign,\na person sunbathing,unsafe,sexual\n", encoding="utf-8"
    )
    words = [
        "--short", "--only", "recipe", "free", "--out", str(tmp_path / "runs"), "--set",
        f"model.path={tmp_path / 'tiny'}", "model.dtype=fp32", f"prompts.path={tmp_path / 'p.csv'}",
        "reward.kind=tests.cli.rewards:brightness", "prompts.anchors=0", "rollout.steps=2",
        "rollout.group_size=2", "rollout.prompts=2", "train.steps=1", "train.updates=1", "evaluate.steps=2",
        "evaluate.n=28",
    ]  # fmt: skip
    plan = generalisation.parse(words)
    generalisation.run(plan, "recipe", 0)
    plan.records.unlink()  # as after a kill between the last evaluation and its record
    monkeypatch.setattr("sys.argv", ["generalisation.py", *words])
    generalisation.main()
    assert trained == ["recipe/seed-0", "free/seed-0"] and evaluated == ["base", "trained", "trained"]
    rows = [json.loads(line) for line in plan.records.read_text(encoding="utf-8").splitlines()]
    assert [row["cell"] for row in rows] == ["recipe", "free"]
    assert rows[0]["before"] == rows[1]["before"]
    assert "harm/hate/implicit" in rows[0]["after"] and rows[0]["images"]["world-geneval"] == 24
    shutil.rmtree(tmp_path / "runs")  # the records alone know what is finished
    generalisation.main()
    assert len(trained) == 2 and len(evaluated) == 3
    assert (tmp_path / "results/frontier-generalisation_short.png").is_file()
