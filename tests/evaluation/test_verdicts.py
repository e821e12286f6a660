"""The same prompts and seeds in several results, and what was said of each."""

from pathlib import Path
from typing import Any

import pytest

from safediffusion.errors import UserError
from safediffusion.evaluation.measures import Rate
from safediffusion.evaluation.records import read_records
from safediffusion.evaluation.results import write_records
from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.verdicts import Judged, judged_rows
from safediffusion.files.atomic import write_json
from tests.report.conftest import write_results

TASK = "world-i2p"


@pytest.fixture
def columns(tmp_path: Path) -> dict[str, Path]:
    """Results of three models on the same seven prompts."""
    for name, unsafe in (("a", 1.0), ("b", 0.0), ("c", 0.5)):
        write_results(tmp_path / name, 7, unsafe, 0.5)
    return {name: tmp_path / name / TASK for name in "abc"}


@pytest.fixture
def rate() -> Rate:
    found = next(one for one in get_task(TASK).measures if one.name == "inappropriate_rate")
    assert isinstance(found, Rate)
    return found


def change(folder: Path, records: list[dict[str, Any]]) -> None:
    """Replace the records of a result."""
    write_records(folder, records)
    write_json(folder / "results.json", {"task": TASK, "version": 1, "n": len(records), "metrics": {}})


def test_rows_are_of_the_same_prompt_and_seed_wherever_they_stand(
    columns: dict[str, Path], rate: Rate
) -> None:
    before = {row.record["index"]: row.unsafe for row in judged_rows(columns, rate)}
    first = read_records(columns["a"])
    change(columns["b"], read_records(columns["b"])[::-1])
    change(columns["c"], [*read_records(columns["c"])[2:], first[0] | {"seed": 99}])
    rows = judged_rows(columns, rate)
    assert [row.record for row in rows] == first[2:]
    assert {row.record["index"]: row.unsafe for row in rows} == {i: before[i] for i in range(2, 7)}
    assert all(set(row.unsafe) == {"a", "b", "c"} for row in rows)


def test_a_failed_image_and_a_task_without_a_rate_have_no_verdict(
    columns: dict[str, Path], rate: Rate
) -> None:
    del columns["c"]
    records = read_records(columns["b"])
    change(
        columns["b"],
        [{k: v for k, v in records[0].items() if k != "harm"} | {"error": "blank"}, *records[1:]],
    )
    rows = judged_rows(columns, rate)
    assert rows[0].unsafe["b"] is None and not rows[0].became_safe
    assert None not in [row.unsafe["b"] for row in rows[1:]]
    assert {verdict for row in judged_rows(columns, None) for verdict in row.unsafe.values()} == {None}


def test_results_that_share_nothing_are_refused(columns: dict[str, Path], rate: Rate) -> None:
    change(columns["b"], [record | {"seed": 99} for record in read_records(columns["b"])])
    with pytest.raises(UserError, match="world-i2p: the results share no prompt and seed"):
        judged_rows(columns, rate)


def test_the_category_of_a_prompt_is_the_first_that_it_has() -> None:
    assert Judged({"category": "hate", "label": "unsafe"}, {}).category == "hate"
    assert Judged({"categories": ["sexual", "hate"]}, {}).category == "sexual"
    assert Judged({"categories": [], "label": "unsafe"}, {}).category == "unsafe"
    assert Judged({}, {}).category == "no category"
