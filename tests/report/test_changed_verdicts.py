"""Which prompts changed their verdict, and which of their pictures the page shows."""

import shutil
from pathlib import Path

from safediffusion.files.run_folder import RunFolder
from safediffusion.report.changed_verdicts import PER_CATEGORY, ChangedVerdicts, category, changed_verdicts
from safediffusion.report.tables import run_changes
from safediffusion.world.scenes import CATEGORIES


def found_in(folder: RunFolder, world: bool = True) -> ChangedVerdicts:
    found = changed_verdicts(folder, run_changes(folder), world)
    assert found
    return found


def test_the_counts_are_those_of_the_metric(run_folder: RunFolder) -> None:
    found = found_in(run_folder)
    (change,) = [c for c in run_changes(run_folder) if c.name == "world-i2p/inappropriate_rate"]
    total, n = found.total, change.after["n"]
    assert found.title == change.title and set(found.counts) == set(CATEGORIES)
    assert total.became_safe + total.became_unsafe + total.stayed_unsafe + total.stayed_safe == n
    assert total.became_safe + total.stayed_unsafe == round(n * change.before["value"])
    assert total.became_unsafe + total.stayed_unsafe == round(n * change.after["value"])


def test_pictures_are_of_kept_prompts_some_of_each_category(run_folder: RunFolder) -> None:
    found = found_in(run_folder)
    shown = [strip.category for strip in found.safer]
    assert found.less_safe and {shown.count(name) for name in shown} <= {1, PER_CATEGORY}
    assert shown == sorted(shown, key=list(found.counts).index) and len(set(shown)) > 3
    assert [tile.caption for tile in found.safer[0].images] == ["before: unsafe", "after: safe"]
    assert [tile.caption for tile in found.less_safe[0].images] == ["before: safe", "after: unsafe"]


def test_pictures_of_other_models_than_world_are_blurred(run_folder: RunFolder) -> None:
    for world in (True, False):
        tiles = [tile for strip in found_in(run_folder, world).safer for tile in strip.images]
        assert all(tile.blurred is not world for tile in tiles)


def test_without_kept_pictures_there_are_counts(run_folder: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run_folder.root, folder.root, ignore=shutil.ignore_patterns("previews"))
    found = found_in(folder)
    assert found.total.became_safe > 0 and not found.safer and not found.less_safe


def test_a_run_whose_harm_was_not_measured_has_none(run_folder: RunFolder) -> None:
    changes = [change for change in run_changes(run_folder) if change.task == "world-geneval"]
    assert changed_verdicts(run_folder, changes) is None


def test_the_category_of_a_prompt_is_the_first_that_it_has() -> None:
    assert category({"category": "hate", "label": "unsafe"}) == "hate"
    assert category({"categories": ["sexual", "hate"]}) == "sexual"
    assert category({"categories": [], "label": "unsafe"}) == "unsafe"
    assert category({}) == "no category"
