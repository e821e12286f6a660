"""The pixel rule of World's doll, and the shares and shirts that world-bias counts."""

import numpy as np
import pytest

from safediffusion.evaluation.detectors.world_doll import NONE, TONES, Doll
from safediffusion.evaluation.measures import Unmeasured
from safediffusion.evaluation.results import compared
from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.tasks.world_bias import GROUNDS
from safediffusion.world.drawing import COLORS, SKIN
from safediffusion.world.networks.images import gaussian_blur, render_batch
from safediffusion.world.scenes import PARTS, make_benign

TASK = get_task("world-bias")


@pytest.mark.parametrize("place", GROUNDS)
@pytest.mark.parametrize("sigma", [0.0, 0.6])  # a decoder's pictures are softer than a renderer's
def test_the_rule_reads_tone_and_shirt_of_rendered_dolls(place: str, sigma: float) -> None:
    rng = np.random.default_rng(0)
    scenes = [make_benign(rng, place) for _ in range(40)]
    images = render_batch(scenes)
    found = Doll()(list(gaussian_blur(images, sigma) if sigma else images), [])
    dolls = [scene.doll for scene in scenes if scene.doll]
    assert [f["tone"] for f in found] == [TONES[SKIN.index(doll.skin)] for doll in dolls]
    assert [f["shirt"] for f in found] == [doll.top for doll in dolls]


def test_where_nobody_is_there_is_no_tone() -> None:
    rng = np.random.default_rng(0)
    empty = [make_benign(rng, place, person=False, prop="ball") for place in GROUNDS]
    assert [f["tone"] for f in Doll()(list(render_batch(empty)), [])] == [NONE] * len(GROUNDS)


def test_half_of_the_prompts_name_a_shirt_and_all_of_them_a_ground_unlike_skin() -> None:
    rows = TASK.prompts(None, 1)
    marked = [row for row in rows if row["marked"]]
    assert len(rows) == 2 * len(marked) == TASK.n
    assert all(row["marked"] in row["prompt"] for row in marked)
    assert not any(color in row["prompt"].split() for color in COLORS for row in rows if not row["marked"])
    assert not any(words in row["prompt"] for words in ("beach", "room") for row in rows)
    assert [row["prompt"] for row in TASK.prompts(8, 5)] == [row["prompt"] for row in rows[:8]]


def record(tone: str, marked: str = "", shirt: str = "red", person: float = 0.9) -> dict:
    return {
        "tone": tone,
        "marked": marked,
        "shirt": shirt,
        "cosine": 0.3,
        "parts": dict.fromkeys(PARTS, 0.0) | {"person": person},
    }


def test_shares_are_of_unnamed_people_and_shirts_are_kept_or_not() -> None:
    metrics = TASK.metrics(
        [
            record(TONES[0]),
            record(TONES[3]),
            record(TONES[3]),
            record(NONE),
            record(TONES[1], person=0.1),
            record(TONES[2], "red"),
            record(TONES[2], "blue"),
        ]
    )
    shares = {name: metrics[f"tone_share/{name}"] for name in TONES}
    assert [shares[name]["value"] for name in TONES] == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert shares[TONES[0]]["n"] == 3 and metrics["shirt_kept"]["value"] == 0.5
    assert metrics["person_rate"]["value"] == pytest.approx(6 / 7)


def test_a_share_that_changes_is_neither_better_nor_worse() -> None:
    from safediffusion.evaluation.results import compared

    share = next(m for m in TASK.measures if m.name == f"tone_share/{TONES[0]}")
    before, after = [record(TONES[0])] * 40, [record(TONES[1])] * 40
    change = compared(share, before, after)
    assert change["difference"] == -1 and change["ci_high"] < 0
    assert change["better"] is None and change["higher_is_better"] is None


@pytest.mark.parametrize("empty", [{1}, {0, 3}], ids=["in one picture", "in as many as the other side"])
def test_two_models_are_compared_on_the_prompts_for_which_both_draw_a_person(empty: set[int]) -> None:
    dark, light = TONES[0], TONES[3]
    share = next(measure for measure in TASK.measures if measure.name == f"tone_share/{light}")
    before = [record(tone) for tone in (dark, dark, light, NONE, light, NONE)]
    after = [record(NONE if i in empty else light) for i in range(6)]
    found = compared(share, before, after)
    rows = [i for i in (0, 1, 2, 4) if i not in empty]
    light_before = sum(before[i]["tone"] == light for i in rows) / len(rows)
    assert found["n"] == len(rows) and found["baseline"] == pytest.approx(light_before)
    assert found["candidate"] == 1 and found["difference"] == pytest.approx(1 - light_before)
    with pytest.raises(Unmeasured, match="no judged image belongs to it"):
        compared(share, before, [record(NONE)] * 6)
