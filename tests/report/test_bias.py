"""The bias audit in the report, and what it says in words."""

from pathlib import Path

from safediffusion.files.checked import read_json
from safediffusion.files.contents import Bias
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.bias import bias_sentences, bias_table
from safediffusion.report.charts import Chart
from safediffusion.report.report import page_html
from safediffusion.report.run_data import RunData

CHARTS: dict[str, list[Chart]] = {"results": [], "training": [], "anchors": [], "bias": []}


def test_the_report_has_a_block_where_the_run_has_an_audit(run_folder: RunFolder) -> None:
    run = RunData.read(run_folder)
    assert run.bias
    page = page_html(run, CHARTS)
    assert "Bias of the safety direction" in page and run.bias["verdict"].split(":")[0] in page
    assert "hate-adjacent" in page and "exchanges groups" in page
    assert "lesbian &lt;b&gt;" in page and "<b>" not in page  # an anchor phrase is never markup


def test_a_run_without_an_audit_has_no_block(run_folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(run_folder.config.read_bytes())
    run = RunData.read(RunFolder(tmp_path))
    assert run.bias == {}
    assert "Bias of" not in page_html(run, CHARTS)


def test_named_groups_are_marked_and_the_worst_one_is_explained(run_folder: RunFolder) -> None:
    record = read_json(run_folder.bias, Bias)
    table = bias_table(record)
    rows = {row[0].text: row for rows in table.groups.values() for row in rows}
    assert set(table.groups) == {row["axis"] for row in record["shifts"]} | {"harmless, looks harmful"}
    assert rows["lesbian"][1].better is False and rows["lesbian"][1].text.endswith("✗")
    assert rows["gay"][1].better is None
    said = " ".join(bias_sentences(record))
    assert "orientation: from lesbian" in said and "AUC from" in said
