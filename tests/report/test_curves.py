"""The curves of strengths and of a relapse: which points belong together, and what is drawn."""

from pathlib import Path
from typing import Any

import numpy as np

from safediffusion.files.run_folder import RunFolder
from safediffusion.report.plots import MOST_POINTS, thinned
from safediffusion.report.relapse_plot import is_rate, relapse_curve
from safediffusion.report.strength_plot import Dialled, alike, curve_of, read_strengths, strength_curve

HARM, SHAPES, MATCH = "world-i2p/inappropriate_rate", "world-geneval/overall", "world-benign/clip_t"


def metric(value: float, n: int = 50) -> dict[str, Any]:
    return {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.2, "n": n}


def point(strength: float, harm: float, quality: float, n: int = 50, name: str = SHAPES) -> Dialled:
    return Dialled(strength, {HARM: metric(harm, n), name: metric(quality, n)})


def test_points_of_one_size_make_a_curve_and_others_are_left_out() -> None:
    points = [point(0, 0.6, 0.5), point(0.5, 0.4, 0.5, n=7), point(1, 0.2, 0.4)]
    found = curve_of(points)
    assert found and found[:2] == (HARM, SHAPES)
    assert [one.strength for one in found[2]] == [0, 1]


def test_only_folders_of_a_strength_are_read(tmp_path: Path) -> None:
    names = (
        "strength-0",
        "strength-1.5",
        "strength-1e-07",
        "strength-x",
        "strength-",
        "strength-1.5.new",
        "after",
    )
    for name in names:
        (tmp_path / "eval" / name).mkdir(parents=True)
    assert [one.strength for one in read_strengths(RunFolder(tmp_path))] == [0, 1e-7, 1.5]


def test_fewer_than_two_points_or_no_quality_make_no_curve() -> None:
    assert curve_of([]) is None
    assert curve_of([point(0, 0.6, 0.5)]) is None
    assert curve_of([point(0, 0.6, 0.5, n=7), point(1, 0.6, 0.5, n=9)]) is None
    assert curve_of([Dialled(s, {HARM: metric(0.5)}) for s in (0.0, 1.0)]) is None


def test_the_first_quality_that_two_points_share_is_taken() -> None:
    found = curve_of([point(s, 0.5, 39, name=MATCH) for s in (0, 1)])
    assert found and found[1] == MATCH


def test_a_curve_of_strengths_shows_rates_in_percent_and_names_every_point() -> None:
    figure = strength_curve(HARM, SHAPES, [point(0, 0.6, 0.5), point(1.5, 0.2, 0.4)])
    (axes,) = figure.axes
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_xydata()), [[60, 50], [20, 40]])
    assert [text.get_text() for text in axes.texts] == ["0", "1.5"]
    assert axes.get_xlabel() == "Unsafe images, % (less is safer)" and axes.get_ylabel() == "Composition, %"


def test_a_relapse_shows_harm_quality_and_the_base() -> None:
    points = [{"step": s, "metrics": point(0, v, 0.5).metrics} for s, v in ((0, 0.1), (8, 0.3))]
    figure = relapse_curve(points, {HARM: metric(0.6)}, HARM, SHAPES)
    lines = {tuple(map(tuple, np.asarray(line.get_xydata()).round(9))) for line in figure.axes[0].lines}
    assert ((0, 10), (8, 30)) in lines and ((0, 50), (8, 50)) in lines and ((0, 60), (1, 60)) in lines
    alone = relapse_curve(points, {}, HARM, None)
    assert not any(line.get_linestyle() == "--" for line in alone.axes[0].lines)


def test_a_metric_that_a_point_lacks_or_that_is_no_share_is_no_rate() -> None:
    points = [{"step": 0, "metrics": point(0, 0.1, 39, name=MATCH).metrics}]
    assert is_rate(HARM, points) and not is_rate(MATCH, points) and not is_rate(SHAPES, points)


def test_other_models_stand_beside_the_curve_if_they_have_as_many_images() -> None:
    points = [point(0, 0.6, 0.5), point(1, 0.2, 0.4)]
    others = {"sld": point(0, 0.3, 0.3).metrics, "fewer": point(0, 0.3, 0.3, n=7).metrics, "none": {}}
    assert alike(HARM, SHAPES, points, others) == ["sld"]
    figure = strength_curve(HARM, SHAPES, points, {"sld": others["sld"]})
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "1", "sld"]


def test_a_long_run_is_drawn_with_few_points_and_the_same_means() -> None:
    x, y = np.arange(1201.0), np.linspace(0, 1, 1201)
    few_x, few_y = thinned(x, y)
    assert len(few_x) <= MOST_POINTS and few_x[0] == 1 and few_y[0] == y[:3].mean()
    assert few_x[-1] == 1200  # the rest of the last three
    np.testing.assert_array_equal(thinned(x[:5], y[:5])[1], y[:5])
