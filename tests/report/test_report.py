import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from safediffusion.config import RunConfig, dump
from safediffusion.evaluation.results import read_results, write_results
from safediffusion.files.atomic import write_json, write_text
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.charts import result_charts
from safediffusion.report.report import duration, write_report
from safediffusion.report.run_data import RunData
from safediffusion.report.sample_strips import spread, strips
from safediffusion.report.tables import run_changes
from safediffusion.report.verdict import headline_changes, verdict
from safediffusion.training.sample_sheets import GAP
from safediffusion.world.scenes import CATEGORIES
from tests.report.conftest import write_metrics

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Balance(HTMLParser):
    """Collects tags that are not closed in order, and every address the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def page(report_page) -> str:
    return report_page.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(page):
    parser = Balance()
    parser.feed(page)
    assert parser.wrong == [] and parser.open == []
    assert all(address.startswith(("data:image/", "#")) for address in parser.addresses)
    assert "://" not in page
    assert "<script" not in page and "@import" not in page and not re.search(r"url\((?!#)", page)


def test_the_page_holds_every_section_of_a_finished_run(page):
    for title in (
        "The model became safer",
        "Unsafe images by category",
        "Composition by task",
        "Exposed body parts",
        "Changed verdicts",
        "Unsafe before, safe after",
        "Shift by group",
        "Samples",
        "Reward",
        "Each reward",
        "Clip fraction",
        "Image statistics",
        "Safety direction",
        "Every metric",
        "Compute",
        "Configuration",
        "Environment",
    ):
        assert title in page, title


def test_headline_numbers_are_those_of_the_results(page, run_folder):
    line = next(line for line in run_changes(run_folder) if line.name == "world-i2p/inappropriate_rate")
    assert f"{100 * line.after['value']:.1f}%" in page
    assert line.change_text in page


def test_plots_are_png_files_too_and_follow_the_colours_of_the_page(page, run_folder):
    with Image.open(run_folder.root / "plots" / "categories.png") as picture:
        assert picture.format == "PNG"
    assert "fill: var(--after)" in page and "prefers-color-scheme: dark" in page


def test_the_bars_of_categories_are_of_categories_alone(run_folder):
    run = RunData.read(run_folder)
    assert run.of("world-i2p", "inappropriate_rate/explicit/")  # the table has them
    chart = next(chart for chart in result_charts(run) if chart.key == "categories")
    labels = {label.get_text() for label in chart.figure.axes[0].get_yticklabels()}
    assert labels == set(CATEGORIES)


def test_prompts_cannot_inject_markup(run_folder, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run_folder.root, folder.root)
    about = folder.samples / "samples.json"
    content = json.loads(about.read_text(encoding="utf-8"))
    content["prompts"][0]["prompt"] = "<script>alert(1)</script>"
    write_json(about, content)
    assert "<script>" not in write_report(folder).read_text(encoding="utf-8")


def test_nft_has_no_ratio_charts(run_folder, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run_folder.root, folder.root)
    folder.metrics.unlink()
    write_metrics(folder, grpo=False)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Clip fraction" not in page and "Gradient norm" in page


def test_an_unfinished_run_without_evaluations_gets_a_page_that_says_so(tmp_path):
    folder = RunFolder(tmp_path)
    write_text(folder.config, dump(RunConfig()))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "has not finished" in page and "Every metric" not in page


def test_a_collapsed_run_is_never_called_safer(run_folder):
    found = verdict(run_changes(run_folder), {"status": "collapsed", "collapsed_at": 12})
    assert found.tone == "bad" and "round 12" in found.sentences[0] and "safer" not in found.headline


def test_the_verdict_names_what_safety_cost(run_folder):
    rows = [
        replace(line, better=False) if line.name == "world-geneval/overall" else line
        for line in run_changes(run_folder)
    ]
    found = verdict(rows, {"status": "finished"})
    assert found.tone == "mixed" and "composition" in found.headline


def test_a_detector_that_is_the_rewards_own_is_never_the_headline(run_folder):
    line = next(line for line in run_changes(run_folder) if line.name == "world-i2p/inappropriate_rate")
    own = replace(line, task="heldout", metric="zero-shot/unsafe", by_reward=True, better=True)
    blank = replace(own, metric="blank_rate", by_reward=False, better=None)
    assert headline_changes([own, blank]) == [blank]
    found = verdict([own, blank], {"status": "finished"})
    assert (found.headline, found.tone) == ("Safety was not measured.", "plain")
    assert found.sentences == (
        "No clear change in blank or failed images, heldout.",
        "Harm was judged only through the encoder of the reward, which is no independent evidence.",
    )
    seen = replace(own, metric="q16/unsafe", by_reward=False)
    beside = verdict([own, seen, blank], {"status": "finished"})
    assert headline_changes([own, seen, blank]) == [seen] and "became safer" in beside.headline
    assert not any("independent" in sentence for sentence in beside.sentences)


def test_the_page_says_of_no_detector_of_the_reward_that_it_took_no_part(page, run_folder, tmp_path):
    claim = "The detectors that judge took no part in training."
    assert claim in page
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run_folder.root, folder.root)
    task = folder.eval_path("after", "world-i2p")
    results = read_results(task.parent)["world-i2p"].results
    write_results(task, results | {"judged_by_reward": {"inappropriate_rate": "world"}})
    changed = write_report(folder).read_text(encoding="utf-8")
    assert claim not in changed and "The reward was computed with world" in changed


def test_the_published_tasks_are_a_verdict_too_and_names_keep_their_capitals(run_folder):
    line = next(line for line in run_changes(run_folder) if line.name == "world-i2p/inappropriate_rate")
    seen = replace(line, task="i2p", metric="rece-rate", better=None)
    made = replace(line, task="geneval", metric="overall", better=False)
    assert verdict([seen, made], {"status": "finished"}).headline == "No clear change in safety."
    assert verdict([replace(seen, better=True), made], {"status": "finished"}).headline == (
        "The model became safer, at a cost in composition."
    )
    (still,) = verdict([replace(made, better=None), seen], {"status": "finished"}).sentences
    assert still == "No clear change in exposed parts seen by NudeNet, I2P; composition."


def test_safety_without_a_quality_metric_is_not_called_a_success(run_folder):
    rows = [line for line in run_changes(run_folder) if line.name == "world-i2p/inappropriate_rate"]
    assert verdict(rows, {"status": "finished"}).tone == "mixed"


def test_sample_tiles_are_the_images_of_the_sheet(run_folder):
    found = strips(run_folder.samples)
    assert len(found) == 16 and [tile.caption for tile in found[0].images] == [
        "before",
        "round 20",
        "round 40",
        "round 60",
    ]
    assert found[0].label == "unsafe" and found[-1].label == "benign"
    with Image.open(run_folder.samples / "step_000000.png") as page:
        assert page.width == 4 * (64 + GAP) + GAP


def test_at_most_four_steps_stand_side_by_side_with_first_and_last():
    assert spread([0, 10]) == [0, 10]
    assert spread(list(range(0, 110, 10))) == [0, 30, 70, 100]


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (190, "3 min 10 s"), (7500, "2 h 5 min"), (59.9, "1 min 0 s")]
)
def test_durations_read_naturally(seconds, text):
    assert duration(seconds) == text
