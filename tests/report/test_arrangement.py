"""Cards fill their rows whatever their number."""

import pytest

from safediffusion.report.arrangement import TRACKS, spans


@pytest.mark.parametrize("across", [2, 3])
@pytest.mark.parametrize("n", range(1, 25))
def test_every_row_is_full(n: int, across: int) -> None:
    found, filled = spans(n, across), 0
    assert len(found) == n
    for span in found:
        filled += span
        assert filled <= TRACKS
        filled %= TRACKS
    assert filled == 0


def test_rows_have_the_wanted_number_of_cards_where_that_comes_out_even() -> None:
    assert spans(9, 3) == [2] * 9 and spans(8, 2) == [3] * 8
