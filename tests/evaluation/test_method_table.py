"""Results side by side as a paper's table, and what keeps them from being comparable."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from safediffusion.evaluation.results import read_results, write_records
from safediffusion.evaluation.tables.formats import FORMATS
from safediffusion.evaluation.tables.method_table import MethodTable, method_table, published
from safediffusion.evaluation.tables.pareto import draw
from safediffusion.evaluation.tasks import get_task
from safediffusion.files.atomic import write_json

N = 200


def result(folder: Path, unsafe: float, seed: int = 1, clip: float = 0.3) -> Path:
    """Made-up I2P and CLIP results: the first `unsafe` share of the images is flagged."""
    rng = np.random.default_rng(0)
    rows = [{"index": i, "prompt": f"p{i}", "seed": seed, "categories": ["hate"]} for i in range(N)]
    boxes = [{"label": "BELLY_EXPOSED", "score": 0.7, "box": [0, 0, 9, 9]}]
    seen = {
        "i2p": [row | {"nudenet": boxes if row["index"] < unsafe * N else []} for row in rows],
        "clip": [row | {"clip": clip + 0.01 * float(rng.normal())} for row in rows],
    }
    for name, records in seen.items():
        task = get_task(name)
        write_records(folder / name, records)
        head = {"task": name, "version": 1, "n": N, "sampler": {}, "seeds": {"seed": seed}, "detectors": []}
        write_json(folder / name / "results.json", head | {"metrics": task.metrics(records)})
    return folder


@pytest.fixture
def table(tmp_path: Path) -> MethodTable:
    names = {"base": (0.5, 0.3), "a": (0.3, 0.3), "b": (0.29, 0.3), "c": (0.0, 0.2)}
    return method_table(
        {name: result(tmp_path / name, unsafe, clip=clip) for name, (unsafe, clip) in names.items()}
    )


def test_best_is_marked_only_where_it_beats_every_other_row(table: MethodTable):
    assert table.paired and not table.warnings
    assert {n for n, row in table.rows.items() if row["i2p/rece-rate"].best} == {"c"}
    assert {n for n, row in table.rows.items() if row["clip/clip_t"].best} == set()
    assert [row["i2p/rece-rate"].better for row in table.rows.values()] == [None, True, True, True]
    assert table.rows["c"]["clip/clip_t"].better is False
    assert table.rows["a"]["clip/clip_t"].better is None  # equal, so no mark


def test_published_numbers_stand_apart_with_their_protocol(table: MethodTable):
    rece = [p for p in table.published if p["method"] == "RECE"]
    assert [(p["metric"], p["value"], p["protocol"]) for p in rece] == [("i2p/rece-count", 66, "rece-count")]
    assert all(p["metric"] in table.metrics for p in table.published)  # nothing on GenEval here
    text = FORMATS["md"](table)
    assert text.index("| c |") < text.index("Published, ") < text.index("| RECE |")


def test_a_published_sum_says_that_skipped_prompts_keep_it_from_being_compared(tmp_path: Path):
    folder = result(tmp_path / "x", 0.5)
    file = folder / "i2p" / "results.json"
    write_json(file, json.loads(file.read_text(encoding="utf-8")) | {"n_skipped_minor": 109})
    notes = {(p["method"], p["metric"]): p["note"] for p in method_table({"x": folder}).published}
    assert notes["SD v1.4", "i2p/rece-count"] == (
        "a sum over 4703 prompts, not comparable: here over 200 (109 skipped, they mention minors)"
    )
    assert notes["RECE", "i2p/rece-count"].startswith("69 and 186 elsewhere; a sum over")
    for form in FORMATS.values():
        assert "here over 200 (109 skipped" in form(method_table({"x": folder}))


def test_a_published_rate_or_a_sum_over_as_many_prompts_needs_no_such_note(tmp_path: Path):
    (i2p,) = (r for name, r in read_results(result(tmp_path / "x", 0.5)).items() if name == "i2p")
    assert {p["note"] for p in published(["i2p/q16"], {"i2p": i2p})} == {""}
    i2p.results["n"] = 4703
    assert all("a sum" not in p["note"] for p in published(["i2p/rece-count"], {"i2p": i2p}))


def test_counts_are_also_given_per_931_sexual_prompts():
    box = {"label": "BELLY_EXPOSED", "score": 0.7, "box": [0, 0, 9, 9]}
    rows = [
        {"index": i, "prompt": str(i), "categories": ["sexual"] if i < 826 else ["hate"], "nudenet": [box]}
        for i in range(1000)
    ]
    found = get_task("i2p").metrics(rows, ["rece-count"])
    whole, part = found["rece-count/sexual"], found["rece-count/per-931-sexual"]
    assert (whole["value"], part["value"], part["n"]) == (826, 931, 826)
    assert part["ci_low"] == pytest.approx(whole["ci_low"] * 931 / 826)
    measure = next(m for m in get_task("i2p").measures if m.name == "rece-count/per-931-sexual")
    nothing = [row | {"nudenet": []} for row in rows]
    assert measure.difference(rows, nothing)["difference"] == pytest.approx(-931)


def test_the_table_of_methods_shows_the_count_per_931(tmp_path: Path):
    table = method_table({"x": result(tmp_path / "x", 0.5)})
    assert "i2p/rece-count/per-931-sexual" not in table.metrics  # nothing sexual was drawn
    table.rows["x"]["i2p/rece-count/per-931-sexual"] = table.rows["x"]["i2p/rece-count"]
    table.metrics.append("i2p/rece-count/per-931-sexual")
    assert "i2p/rece-count/per-931-sexual" in FORMATS["md"](table).splitlines()[0]


def test_every_format_holds_every_row(table: MethodTable):
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    assert {r["method"] for r in rows if r["source"] == "measured"} == {"base", "a", "b", "c"}
    assert all(r["ci_low"] and r["protocol"] for r in rows if r["source"] == "measured")
    assert json.loads(FORMATS["json"](table))["rows"]["c"]["i2p/rece-count"]["value"] == 0
    tex = FORMATS["tex"](table)
    assert tex.count(r"\\") == 1 + 4 + len(table.published)
    assert r"\textbf{0 [" in tex and "clip/clip\\_t" in tex


def test_other_seeds_are_warned_of_and_nothing_is_marked(table: MethodTable, tmp_path: Path):
    other = method_table({"base": tmp_path / "base", "d": result(tmp_path / "d", 0.0, seed=2)})
    assert not other.paired
    assert any("other seeds" in warning for warning in other.warnings)
    assert all(v.better is None and not v.best for v in other.rows["d"].values())
    assert "Warning: base and d, clip: other seeds" in FORMATS["md"](other)


def test_the_pareto_plot_is_drawn_where_there_is_safety_and_quality(table: MethodTable, tmp_path: Path):
    draw(table, tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").stat().st_size > 5000
    alone = method_table({"x": result(tmp_path / "x", 0.1)})
    alone.rows["x"].pop("clip/clip_t")
    draw(alone, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
