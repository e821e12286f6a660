"""Reports, tables, charts and cards show text from outside, and nothing in it becomes markup or a formula."""

import ast
import csv
import io
import json
import re
import shutil
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from safediffusion.config import dump, load_config
from safediffusion.evaluation.tables.formats import FORMATS
from safediffusion.evaluation.tables.method_table import MethodTable, Value
from safediffusion.evaluation.tables.pareto import draw
from safediffusion.files.atomic import write_json, write_text
from safediffusion.files.checked import write_checked
from safediffusion.files.json_lines import read_jsonl
from safediffusion.files.run_folder import RunFolder
from safediffusion.publish.export import Target, export
from safediffusion.report import plots
from safediffusion.report.report import write_report
from safediffusion.report.result_table import Cell, ResultTable
from safediffusion.report.tables import markdown_table
from safediffusion.text.escaping import chart_text, csv_text, latex_text, markdown_text, plain

from .conftest import HOSTILE, SETTING

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1"]
METRIC = "world-i2p/inappropriate_rate"


class Page(HTMLParser):
    """The tags, the names of attributes, the policy and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = self.policy = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.attributes |= values.keys()
        self.policy = (values.get("content") if "http-equiv" in values else None) or self.policy

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_run(source: RunFolder, root: Path) -> RunFolder:
    """A run in whose files every text that others choose is hostile."""
    folder = RunFolder(root / "[x]<b>run\u202e")
    shutil.copytree(source.root, folder.root)
    words = {name: json.dumps(SETTING) for name in ("model.path", "prompts.path", "reward.encoder")}
    words |= {"reward.anchors": json.dumps(SETTING), "reward.name": json.dumps(SETTING)}
    config = load_config(None, [f"{key}={value}" for key, value in words.items()])
    write_text(folder.config, dump(config))
    about = json.loads((folder.samples / "samples.json").read_text(encoding="utf-8"))
    about["prompts"] = [p | dict.fromkeys(("prompt", "label", "category"), HOSTILE) for p in about["prompts"]]
    write_checked(folder.samples / "samples.json", about)
    anchors = json.loads(folder.anchors.read_text(encoding="utf-8"))
    anchors |= {"name": HOSTILE, "description": HOSTILE, "safe": [HOSTILE], "compared": HOSTILE}
    anchors["contributions"][0]["phrase"] = HOSTILE
    write_checked(folder.anchors, anchors)
    for path in (folder.env, folder.summary):
        write_checked(
            path, json.loads(path.read_text(encoding="utf-8")) | {"device": HOSTILE, HOSTILE: HOSTILE}
        )
    progress = json.loads(folder.progress.read_text(encoding="utf-8"))
    write_checked(folder.progress, progress | {"phases": {HOSTILE: 1.0}})
    rows = [row | {"rewards": {HOSTILE: row["rewards"]["hps"], "_b": row["rewards"]["hps"]}}
            for row in read_jsonl(folder.metrics)]  # fmt: skip
    write_text(folder.metrics, "".join(json.dumps(row) + "\n" for row in rows))
    for path in folder.root.glob("eval/*/*/results.json"):
        results = json.loads(path.read_text(encoding="utf-8"))
        for metric in results["metrics"].values():
            metric["protocol"] = HOSTILE
        write_checked(path, results)
    return folder


@pytest.fixture(scope="module")
def hostile(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return hostile_run(finished, tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def page(hostile: RunFolder) -> str:
    return write_report(hostile).read_text(encoding="utf-8")


def test_text_from_outside_is_never_markup_in_the_report(
    page: str, finished: RunFolder, tmp_path: Path
) -> None:
    harmless = RunFolder(tmp_path / "run")
    shutil.copytree(finished.root, harmless.root)
    usual, found = Page(write_report(harmless).read_text(encoding="utf-8")), Page(page)
    assert found.tags <= usual.tags and found.attributes <= usual.attributes
    assert "script" not in usual.tags and not any(name.startswith("on") for name in usual.attributes)


def test_the_report_shows_such_text_as_it_is(page: str) -> None:
    shown = Page(page).text
    # model, encoder, prompts, captions, labels, anchors, environment, phases, protocols and a legend
    assert shown.count("[/red]<script>alert(1)</script>\\x1b[2J") > 40
    assert "\x1b" not in page and "\u202e" not in page


def test_no_script_could_run_in_the_report_even_as_markup(page: str) -> None:
    assert "default-src 'none'" in Page(page).policy and "script-src" not in Page(page).policy


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "$x^2$", "a_b^c", "_hidden", "\\", "\\$", "$$", "</text><script>", HOSTILE]
)
def test_names_in_charts_are_drawn_as_they_are(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.curves([1, 2], {name: [0.0, 1.0], "other": [1.0, 0.0]}, {})
        svg = plots.svg(figure)
        plots.save_png(figure, tmp_path / "chart.png")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [chart_text(name), "other"] and "<script" not in svg
    drawn = re.sub(r"&(lt|gt|amp);", lambda m: {"lt": "<", "gt": ">", "amp": "&"}[m[1]], svg)
    assert chart_text(name).replace(r"\$", "$") in drawn
    assert len(name) > 60 or plain(name) in drawn


def method_table(*names: str) -> MethodTable:
    value = Value(0.5, 0.4, 0.6, 10, HOSTILE, False)
    rows = {name: {METRIC: value, "world-geneval/overall": value} for name in names}
    published = [{"method": HOSTILE, "metric": METRIC, "value": 0.1, "protocol": HOSTILE, "note": HOSTILE}]
    return MethodTable([METRIC, "world-geneval/overall"], rows, published, [HOSTILE], True)


def cells(text: str) -> list[str]:
    """What a renderer of Markdown shows in a text's table cells; anything but text in them fails."""
    found = []
    for token in MARKDOWN.parse(text):
        assert token.type != "html_block"
        if token.type == "inline":
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "strong_open", "strong_close", "softbreak", "text_special"}, kinds
            found.append("".join(child.content for child in token.children or []))
    return found


def test_the_markdown_table_shows_names_as_they_are() -> None:
    found = cells(FORMATS["md"](method_table(HOSTILE, "a|b", "`c`", "~~d~~", "![e](f)", "<!-- g")))
    for name in (HOSTILE, "a|b", "`c`", "~~d~~", "![e](f)", "<!-- g"):
        assert plain(name) in found
    assert f"Warning: {plain(HOSTILE)}" in "\n".join(found)


def test_the_table_of_results_md_shows_names_as_they_are() -> None:
    sheet = ResultTable(
        ("metric", HOSTILE, "b"), {HOSTILE: [[Cell("m"), Cell("1 [0, 2]"), Cell("2", best=True)]]}
    )
    found = cells(markdown_table(sheet))
    assert plain(HOSTILE) in found and f"{plain(HOSTILE)}/m" in found


@settings(max_examples=300)
@given(st.text(min_size=1).filter(lambda text: plain(text).strip() == text))
def test_any_name_survives_markdown(name: str) -> None:
    assert cells(f"| a |\n|---|\n| {markdown_text(name)} |\n")[1] == plain(name)


@pytest.mark.parametrize("name", [*FORMULAS, HOSTILE, "a;=1", 'a",=1'])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    text = FORMATS["csv"](method_table(name, "b"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {len(row) for row in rows} == {8} and rows[0]["method"].endswith(plain(name))
    assert not any(cell.lstrip().startswith(("=", "@", "\uff1d")) for row in rows for cell in row.values())
    assert not rows[0]["method"].startswith(("+", "-", "=", "@", " ", "\t", "\r"))
    assert all('"' in line for line in text.splitlines()) and float(rows[0]["value"]) == 0.5


def test_negative_numbers_in_the_csv_stay_numbers() -> None:
    table = method_table("a")
    table.rows["a"][METRIC] = Value(-0.5, -0.6, -0.4, 10, "p", False)
    assert next(csv.DictReader(io.StringIO(FORMATS["csv"](table))))["value"] == "-0.5"
    assert csv_text("a-1") == "a-1"


@settings(max_examples=300)
@given(st.text())
def test_no_character_of_a_name_is_a_command_of_latex(name: str) -> None:
    rest = re.sub(r"\\(text[a-z]+\{\}|[{}$&#_%])|\{[\[\]*]\}|-\{\}", "", latex_text(name))
    assert not re.search(r"[\\{}$&#_%^~\[\]*\n]|--", rest)


def test_a_row_of_latex_cannot_begin_with_an_option_of_the_line_break() -> None:
    rows = FORMATS["tex"](method_table("a", "[1cm]", "*", "\\input{x}")).splitlines()
    assert any(row.startswith("{[}1cm{]} &") for row in rows)
    assert any(row.startswith("{*} &") for row in rows)
    assert any(row.startswith(r"\textbackslash{}input\{x\} &") for row in rows)
    assert sum(row.endswith(r"\\") for row in rows) == 6


def test_the_json_table_holds_names_unchanged() -> None:
    assert HOSTILE in json.loads(FORMATS["json"](method_table(HOSTILE)))["rows"]


def test_the_pareto_chart_draws_any_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(method_table("$\\frac{$", "_a", HOSTILE), tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").stat().st_size > 1000


CARDS = [  # no line break among them: the schema refuses control characters
    SETTING,
    "x --- license: mit",
    "x: y",
    '").load(__import__("os").system("true")) #',
    "- a",
    "# a",
    "\\",
]


def card_of(finished: RunFolder, root: Path, to: Target, *words: str) -> str:
    """The card that an export of a run with the given settings gets."""
    folder = RunFolder(root / "run")
    shutil.copytree(finished.root, folder.root, ignore=shutil.ignore_patterns("eval", "samples"))
    write_text(folder.config, dump(load_config(words[0], list(words[1:]))))
    write_json(folder.model / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write_text(folder.model / "lora" / "pytorch_lora_weights.safetensors", "")
    export(folder.root, to, root / "copy")
    return (root / "copy" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("base", CARDS)
@pytest.mark.parametrize("to", [Target.diffusers, Target.lora])
def test_a_base_cannot_add_to_the_head_or_the_code_of_a_card(
    base: str, to: Target, finished: RunFolder, tmp_path: Path
) -> None:
    keys = ("model.path", "prompts.path", "reward.anchors", "reward.encoder")
    card = card_of(finished, tmp_path, to, "world", *(f"{key}={json.dumps(base)}" for key in keys))
    _, head, body = card.split("---\n", 2)
    assert set(yaml.safe_load(head)) == {"library_name", "pipeline_tag"}
    tokens = MARKDOWN.parse(body)
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {"text", "text_special", "softbreak"}
    assert sum(token.type == "heading_open" for token in tokens) == 5
    assert not any(token.type.startswith("html") for token in tokens)
    code = ast.parse(next(t.content for t in tokens if t.type in ("code_block", "fence")).strip())
    called = {node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
              for node in ast.walk(code) if isinstance(node, ast.Call)}  # fmt: skip
    assert called <= {"from_pretrained", "load_lora_weights", "asset"}


def test_the_head_of_a_card_is_written_by_a_writer_of_yaml(finished: RunFolder, tmp_path: Path) -> None:
    head = yaml.safe_load(card_of(finished, tmp_path, Target.diffusers, "sd14").split("---\n")[1])
    assert head["base_model"] == "CompVis/stable-diffusion-v1-4"
    assert head["license_name"] == "creativeml-openrail-m"
