import pytest

from safediffusion.training.algorithms.call_size import call_rows, filled


def test_a_short_last_call_is_filled_up():
    assert filled(96, 96, 96) == 96
    assert filled(72, 96, 96) == 96
    assert filled(100, 40, 16) == 2 * 48 + 32  # 40 + 40 + 20, each part on its own
    assert filled(0, 40, 16) == 0


@pytest.mark.parametrize(
    ("images", "step", "expected"),
    [(96, 288, 96), (96, 72, 24), (96, 48, 48), (64, 800, 32), (192, 16, 16), (4, 4, 4), (1, 1, 1)],
)
def test_the_largest_call_without_waste_is_chosen(images, step, expected):
    assert call_rows((images, 96, 10.0), (step, 96, 12.0)) == expected


def test_where_none_fits_the_least_waste_is_chosen():
    rows = call_rows((97, 97, 1.0), (89, 89, 1.0))
    waste = {r: filled(97, 97, r) + filled(89, 89, r) for r in range(8, 90)}
    assert waste[rows] == min(waste.values())
