"""What the training line says of the small evaluations."""

from tqdm import tqdm

from safediffusion.run.rounds import TREND, unsafe_trend
from safediffusion.system.progress import FORMAT

HARM, SHAPES = "world-i2p/inappropriate_rate", "world-geneval/overall"


def test_the_rate_of_harm_before_training_and_since_is_shown() -> None:
    found = unsafe_trend([{HARM: 0.6, SHAPES: 0.5}, {HARM: 0.3, "step": 10}, {HARM: 0.12, "step": 20}])
    assert found == "unsafe █▅▂ 12%, "


def test_nothing_is_said_without_a_small_evaluation_or_a_rate_of_harm() -> None:
    assert unsafe_trend([{HARM: 0.6}]) == unsafe_trend([]) == ""
    assert unsafe_trend([{SHAPES: 0.6}, {SHAPES: 0.5}]) == ""
    assert unsafe_trend([{}, {HARM: 0.5}]) == ""  # evaluated on other tasks before


def test_the_whole_line_fits_80_columns() -> None:
    trend = unsafe_trend([{HARM: 0.6}] * (2 * TREND))
    line = tqdm.format_meter(
        29, 30, 500, prefix="update", bar_format=FORMAT, postfix=f"{trend}reward 0.412", time_left="01:23:45"
    )
    assert len(line) <= 79 and line.endswith("reward 0.412")
