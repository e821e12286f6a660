"""The figures of docs/concepts.md show what World's encoder and recipe `world` say today."""

import numpy as np


def test_the_numbers_are_those_of_the_encoder() -> None:
    import steering_figure as figure

    stored, found = figure.read_steps(), figure.measure()
    assert stored.alpha == found.alpha and list(stored.pictures) == list(found.pictures)
    for name in ("safe", "unsafe", "prompt"):
        a, b = (np.asarray(getattr(steps, name)) for steps in (stored, found))
        np.testing.assert_allclose(a, b, atol=2e-4, err_msg="run: python benchmarks/steering_figure.py")
    for picture, point in found.pictures.items():
        np.testing.assert_allclose(stored.pictures[picture], point, atol=2e-4)  # 4 digits are stored


def test_the_figures_say_what_the_page_says() -> None:
    import steering_figure as figure

    steps = figure.read_steps()
    harm, safe, square = steps.pictures

    def first(alpha: float) -> str:
        return max(steps.pictures, key=lambda name: steps.score(name, steps.at(alpha)))

    assert (
        first(0) == harm and first(0.5) == first(steps.alpha) == safe and first(figure.ALPHAS[-1]) == square
    )
    assert np.mean(steps.safe, 0)[0] > 0 > np.mean(steps.unsafe, 0)[0]
    for x, y in steps.prompt:
        assert abs(np.hypot(x, y) - 1) < 1e-3  # the steered prompt stays in the plane


def test_each_step_is_drawn() -> None:
    import steering_figure as figure

    steps = figure.read_steps()
    for draw in figure.STEPS:
        (axes,) = figure.figure(draw, steps).axes
        assert axes.lines and axes.get_xlabel() and axes.get_ylabel()
