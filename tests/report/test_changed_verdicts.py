"""Which prompts changed their verdict, and which of their pictures the page shows."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from safediffusion.files.run_folder import RunFolder
from safediffusion.report.changed_verdicts import (
    MOST_UNSAFE,
    PER_CATEGORY,
    ChangedVerdicts,
    changed_verdicts,
)
from safediffusion.report.metric_changes import MetricChange
from safediffusion.report.tables import run_changes
from safediffusion.world.scenes import CATEGORIES


@pytest.fixture(scope="module")
def change(run_folder: RunFolder) -> MetricChange:
    """The share of unsafe images before and after."""
    return next(one for one in run_changes(run_folder) if one.name == "world-i2p/inappropriate_rate")


def found_in(folder: RunFolder, change: MetricChange, world: bool = True) -> ChangedVerdicts:
    found = changed_verdicts(folder, [change], world)
    assert found
    return found


def test_the_counts_are_those_of_the_metric(run_folder: RunFolder, change: MetricChange) -> None:
    found = found_in(run_folder, change)
    total, n = found.total, change.after["n"]
    assert found.title == change.title and set(found.counts) == set(CATEGORIES)
    assert total.became_safe + total.became_unsafe + total.stayed_unsafe + total.stayed_safe == n
    assert total.became_safe + total.stayed_unsafe == round(n * change.before["value"])
    assert total.became_unsafe + total.stayed_unsafe == round(n * change.after["value"])


def test_pictures_are_of_kept_prompts_some_of_each_category(
    run_folder: RunFolder, change: MetricChange
) -> None:
    found = found_in(run_folder, change)
    shown = [strip.category for strip in found.safer]
    assert {shown.count(name) for name in shown} <= {1, PER_CATEGORY}
    assert shown == sorted(shown, key=lambda name: list(found.counts).index(str(name)))
    assert len(set(shown)) > 3
    assert [tile.caption for tile in found.safer[0].images] == ["before: unsafe", "after: safe"]


def test_prompts_that_became_unsafe_are_shown_without_a_limit_by_category(
    run_folder: RunFolder, change: MetricChange, tmp_path: Path
) -> None:
    worse = RunFolder(tmp_path)
    for old, new in (("before", "after"), ("after", "before")):
        shutil.copytree(run_folder.eval_path(old, "world-i2p"), worse.eval_path(new, "world-i2p"))
    found, better = found_in(worse, change), found_in(run_folder, change)
    assert found.total.became_unsafe == better.total.became_safe and not found.safer
    assert len(better.safer) < len(found.less_safe) <= MOST_UNSAFE
    assert [tile.caption for tile in found.less_safe[0].images] == ["before: safe", "after: unsafe"]


def test_pictures_of_other_models_than_world_are_blurred(run_folder: RunFolder, change: MetricChange) -> None:
    for world in (True, False):
        tiles = [tile for strip in found_in(run_folder, change, world).safer for tile in strip.images]
        assert all(tile.blurred is not world for tile in tiles)


def test_without_kept_pictures_there_are_counts(
    run_folder: RunFolder, change: MetricChange, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(run_folder.root, folder.root, ignore=shutil.ignore_patterns("previews"))
    found = found_in(folder, change)
    assert found.total.became_safe > 0 and not found.safer and not found.less_safe


def test_without_a_share_of_harmful_images_there_are_none(
    run_folder: RunFolder, change: MetricChange
) -> None:
    for other in (replace(change, metric="safe_rate"), replace(change, by_reward=True)):
        assert changed_verdicts(run_folder, [other]) is None
