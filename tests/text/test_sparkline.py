from safediffusion.text.sparkline import BARS, sparkline


def test_bars_go_from_nothing_to_the_largest_value() -> None:
    assert sparkline([0.0, 0.2, 0.4]) == f"{BARS[0]}{BARS[4]}{BARS[7]}"
    assert sparkline([0.0, 0.0]) == BARS[0] * 2 and sparkline([]) == ""


def test_a_terminal_without_the_bars_gets_percentages() -> None:
    assert sparkline([0.593, 0.08], "ascii") == sparkline([0.593, 0.08], "no such encoding") == "59>8"
