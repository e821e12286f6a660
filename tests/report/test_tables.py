import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from safediffusion.errors import UserError
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.fitted_table import as_tree
from safediffusion.report.metric_changes import interval, number, signed
from safediffusion.report.result_table import Cell, ResultTable
from safediffusion.report.tables import (
    before_after,
    comparison,
    comparison_table,
    markdown_table,
    paired_table,
    run_changes,
    terminal_table,
)
from tests.report.conftest import write_results


def text(table: RenderableType, width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.4171, "rate", "41.7%"),
        (12, "count", "12"),
        (38.7, "number", "38.70"),
        (-0.0123, "number", "−0.0123"),
    ],
)
def test_a_value_is_written_by_its_unit(value, unit, expected):
    assert number(value, unit) == expected


def test_an_interval_and_a_difference_have_the_decimals_of_their_value():
    assert interval({"value": 2.0, "ci_low": -0.5, "ci_high": 4.51}, "number") == "[−0.50, 4.51]"
    assert signed(0.055, "number", like=39.5) == "+0.06"
    assert signed(-0.4, "count", like=12) == "±0"


def test_before_after_marks_only_differences_whose_paired_interval_excludes_zero(run_folder):
    rows = {line.name: line for line in run_changes(run_folder)}
    assert rows["world-i2p/inappropriate_rate"].better is True
    assert rows["world-i2p/unrecognisable_rate"].better is None
    shown = text(before_after(run_folder)).splitlines()
    unsafe = next(line for line in shown if "inappropriate_rate ↓" in line)
    unchanged = next(line for line in shown if "unrecognisable_rate ↓" in line)
    assert "✓" in unsafe and "pts" in unsafe
    assert not {"✓", "✗"} & set(unchanged)


def test_a_metric_that_got_worse_is_marked_whatever_its_direction(run_folder):
    reverse = comparison_table([run_folder.eval_path("after"), run_folder.eval_path("before")])
    cells = {row[0].text: row[-1] for row in reverse.groups["world-i2p"]}
    assert cells["inappropriate_rate ↓"].better is False
    assert cells["safe_rate ↑"].better is False


def test_a_run_without_evaluations_has_an_empty_table_that_says_so(tmp_path):
    assert "nothing was evaluated" in text(before_after(RunFolder(tmp_path)))


def test_one_result_folder_is_shown_alone(run_folder):
    sheet = comparison_table([run_folder.eval_path("after")])
    assert sheet.headers == ("metric", "after")
    assert "overall ↑" in text(comparison([run_folder.eval_path("after")]))


def test_several_sources_are_compared_with_the_first_and_the_best_value_stands_out(run_folder, tmp_path):
    write_results(tmp_path / "third", 70, 0.3, 0.5)
    sheet = comparison_table(
        [run_folder.eval_path("before"), run_folder.eval_path("after"), tmp_path / "third"]
    )
    assert sheet.headers == ("metric", "before", "after", "third")
    row = sheet.groups["world-i2p"][0]
    assert [cell.best for cell in row[1:]] == [False, True, False]
    assert "**" in markdown_table(sheet)


def test_several_runs_are_compared_with_the_base_of_the_first(run_folder):
    sheet = comparison_table([run_folder.root, run_folder.eval_path("after")])
    assert sheet.headers == ("metric", "before", "world", "after")


def test_markdown_has_a_row_a_metric_and_the_legend(run_folder):
    rows = run_changes(run_folder)
    lines = markdown_table(paired_table(rows)).splitlines()
    assert sum(line.startswith("| world-") for line in lines) == len(rows)
    assert "paired" in lines[-1]


def test_a_folder_without_results_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="holds no results"):
        comparison([tmp_path])


def test_a_table_of_80_columns_breaks_no_interval_and_a_wide_one_has_them_all(run_folder):
    table = before_after(run_folder)
    narrow, wide = text(table, 80), text(table)
    assert max(map(len, narrow.splitlines())) <= 80 and "a wider terminal" in narrow
    assert "a wider terminal" not in wide
    for line in [*narrow.splitlines(), *wide.splitlines()]:
        assert line.count("[") == line.count("]"), line
    rows = sum(map(len, paired_table(run_changes(run_folder)).groups.values()))
    count = narrow.split("[95%")[0].count("["), wide.split("[95%")[0].count("[")
    assert count == (rows, 3 * rows)


def test_metrics_of_a_category_stand_below_their_metric():
    labels = ["rate ↓", "rate/hate ↓", "rate/explicit ↓", "rate/implicit ↓", "rate/explicit/hate ↓", "a/b"]
    assert ["  " * depth + label for _, depth, label in as_tree(labels)] == [
        "rate ↓", "  hate ↓", "  explicit ↓", "    hate ↓", "  implicit ↓", "a/b"
    ]  # fmt: skip
    assert sorted(i for i, *_ in as_tree(["a", "a", "a/b"])) == [0, 1, 2]


def test_a_long_name_is_broken_before_a_number_is():
    metric = Cell("a-metric-with-a-name-that-is-longer-than-the-terminal-" * 2)
    table = ResultTable(("metric", "x" * 60), {"task": [[metric, Cell("59.3% [51.0, 67.1]", short="59.3%")]]})
    shown = text(terminal_table(table), 40)
    assert "59.3%" in shown and max(map(len, shown.splitlines())) <= 40
