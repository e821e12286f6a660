"""The bias audit as a table and sentences: for the terminal, the report and the model card alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safediffusion.report.result_table import Cell, ResultTable

Record = dict[str, Any]  # as `Audit.record` returns it
LEGEND = (
    "shift in % of G, the way between unsafe and benign prompts, negative towards unsafe; ✗ where it is 5% "
    "or more and its interval, which holds for all groups together, excludes 0"
)
BLAMED = 3  # anchors that are named


def bias_table(record: Record) -> ResultTable:
    """One row per group: shift with its interval, in nonce deviations, false alarms and retention."""
    headers = (
        "group",
        "shift [95%]",
        "by nonce sd",
        "AUC",
        "below threshold",
        f"kept at alpha {record['alpha']:g}",
    )
    groups: dict[str, list[list[Cell]]] = {}
    for shift, alarm, drift in zip(record["shifts"], record["alarms"], record["drifts"], strict=True):
        groups.setdefault(shift["axis"], []).append(group_cells(shift, alarm, drift))
    for kind in record["suspicious"]:
        cells = [Cell(kind["kind"]), Cell(percent_interval(kind)), Cell(""), Cell("")]
        cells += [Cell(f"{kind['steered']:.0%}"), Cell("")]
        groups.setdefault("harmless, looks harmful", []).append(cells)
    return ResultTable(headers, groups)


def group_cells(shift: Record, alarm: Record, drift: Record) -> list[Cell]:
    """The row of one group."""
    auc = f"{alarm['auc']:.3f}"
    sds = "" if shift["nonce_sds"] is None else f"{shift['nonce_sds']:+.1f}"
    return [
        Cell(shift["group"]),
        Cell(percent_interval(shift) + " ✗" * shift["named"], False if shift["named"] else None),
        Cell(sds.replace("-", "−")),
        Cell(auc + f" [{alarm['auc_low']:.3f}, {alarm['auc_high']:.3f}]", short=auc),
        Cell(f"{alarm['steered']:.0%}"),
        Cell(f"{drift['unsteered']:.0%} → {drift['steered']:.0%}"),
    ]


def bias_sentences(record: Record) -> Iterator[str]:
    """What the table does not show: axes, critical alpha, pictures, and the anchors to blame."""
    for found, drift in zip(record["ranges"], record["axes"], strict=True):
        yield axis_sentence(found, drift, record["alpha"])
    for alpha in sorted({row["alpha"] for row in record["pictures"]}):
        rows = [row for row in record["pictures"] if row["alpha"] == alpha]
        yield f"pictures at alpha {alpha:g}, in deviations of the reward: " + "; ".join(
            map(picture_text, rows)
        )
    if named := [row for row in record["shifts"] if row["named"]]:
        worst = max(named, key=lambda row: abs(row["shift"]))
        helpful = [row for row in record["anchors"] if abs(row["shift"]) < abs(worst["shift"])][:BLAMED]
        for row in helpful:
            yield (
                f"without “{row['phrase']}” the shift of {worst['group']} goes from "
                f"{percent(worst['shift'])} to {percent(row['shift'])}, and the AUC from "
                f"{record['auc']:.3f} to {row['auc']:.3f}"
            )
        yield repair_sentence(record["repaired"])


def axis_sentence(found: Record, drift: Record, alpha: float) -> str:
    """How far the groups of an axis lie apart, and when steering exchanges them."""
    text = (
        f"{found['axis']}: from {found['lowest']} to {found['highest']} it is "
        f"{100 * found['difference']:.1f}% of G [{100 * found['low']:.1f}, {100 * found['high']:.1f}] "
        f"(d {found['effect']:.2f}, p {found['p_adjusted']:.4f}); "
    )
    if drift["critical"] is None:
        return text + "no alpha exchanges groups"
    text += f"from alpha {drift['critical']:.2f} on steering exchanges groups in 5% of captions"
    if alpha > drift["critical"]:
        text += f", and this reward has {alpha:g}"
    if drift["moved"]:
        text += (
            f"; at {alpha:g} most often {drift['lost']} becomes {drift['gained']} ({drift['moved']} captions)"
        )
    return text


def picture_text(row: Record) -> str:
    """A group's pictures: shift of the reward with its interval, ✗ where it excludes 0."""
    mark = " ✗" if row["named"] else ""
    return f"{row['group']} {row['shift']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]{mark}".replace(
        "-", "−"
    )


def repair_sentence(repaired: Record | None) -> str:
    """What leaving several anchors out would change."""
    if not repaired:
        return "no shorter list of anchors has clearly smaller shifts at the same AUC"
    listed = ", ".join(f"“{phrase}”" for phrase in repaired["removed"])
    return (
        f"suggested: leave out {listed}; the largest shift goes from {100 * repaired['worst_before']:.1f}% "
        f"to {100 * repaired['worst_after']:.1f}% of G, and the AUC from {repaired['auc_before']:.3f} to "
        f"{repaired['auc_after']:.3f}"
    )


def percent(value: float) -> str:
    """A signed share in percent."""
    return f"{100 * value:+.1f}%".replace("-", "−")


def percent_interval(row: Record) -> str:
    """A shift with its interval, in percent."""
    return f"{percent(row['shift'])} [{percent(row['low'])[:-1]}, {percent(row['high'])[:-1]}]"
