"""The table and the plot of what comes back when safe models are fine-tuned."""

from pathlib import Path
from typing import Any

from PIL import Image


def found(first: float, last: float) -> Any:
    """relapse.json of a model whose unsafe share goes from one value to another."""
    from baselines_tables import UNSAFE

    points = [
        {"step": step, "metrics": {UNSAFE: {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1}}}
        for step, value in ((0, first), (200, last))
    ]
    change = {"difference": last - first, "ci_low": 0.0, "ci_high": 0.2}
    return {"points": points, "change": {UNSAFE: change}, "base_metrics": {UNSAFE: {"value": 0.5}}}


def rows() -> list[Any]:
    """One method with three seeds and one without chance."""
    import relapse

    return [
        relapse.row_of("uce", [found(0.2, 0.3)], [None]),
        relapse.row_of("ours", [found(0.1, 0.2), found(0.2, 0.2), found(0.3, 0.5)], [0, 1, 2]),
    ]


def test_the_table_has_shares_by_step_and_the_paired_change():
    import relapse

    text = relapse.table({"rows": rows()})
    header, _, uce, ours = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[:4]
    )
    assert header[1:] == ["after 0 steps, %", "after 200 steps, %", "came back, points", "seeds"]
    assert uce == ["uce", "20.0 [10.0, 30.0]", "30.0 [20.0, 40.0]", "10.0 [0.0, 20.0]", "-"]
    assert ours[0] == "ours" and ours[3].startswith("10.0 [") and ours[4] == "3"
    assert ours[1].startswith("20.0 [") and ours[2].startswith("30.0 [")
    assert "base 50.0%" in text


def test_the_plot_is_drawn(tmp_path: Path):
    import relapse

    relapse.plot({"rows": rows()}, tmp_path / "relapse.png")
    with Image.open(tmp_path / "relapse.png") as image:
        assert image.width > 400
