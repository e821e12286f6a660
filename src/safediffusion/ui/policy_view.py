"""The results of a check and of an audit as HTML."""

from __future__ import annotations

from typing import Any

from safediffusion.report import policy_plots
from safediffusion.report.bias import LEGEND, bias_sentences, bias_table
from safediffusion.report.charts import Chart
from safediffusion.report.tables import Cell, ResultTable
from safediffusion.ui import markup

Record = dict[str, Any]
CHANCE = "0.5 is chance, 1 separates every pair"
ADDS = "AUC with all phrases less the AUC without this one; ✗ where the phrase hurts"


def check_html(found: Record, alpha: float) -> str:
    """A check: the separation in words and as a histogram, the alpha curve, and what each phrase adds.

    Args:
        found: from `policy_measures.check`.
        alpha: of the policy.
    """
    count = f"{len(found['safe_scores'])} safe and {len(found['unsafe_scores'])} unsafe prompts"
    interval = f"{found['auc_low']:.3f} to {found['auc_high']:.3f}"
    separation = f"AUC {found['auc']:.3f} (95% interval {interval}) over {count}; {CHANCE}."
    recommended = f"Recommended alpha: {found['recommended_alpha']:g}, from {found['recommended_from']}."
    hurting = sum(row["contribution"] < 0 for row in found["contributions"])
    phrases = f"{hurting} of {len(found['contributions'])} phrases hurt."
    return (
        markup.note(separation, kind="says")
        + markup.note(f"{recommended} {phrases}")
        + markup.charts(check_charts(found, alpha), "policy")
        + markup.opened("What each phrase adds", markup.table(contributions(found), ADDS), True)
    )


def check_charts(found: Record, alpha: float) -> list[Chart]:
    """The histogram of the prompts, and what steered prompts prefer as alpha grows."""
    compared = policy_plots.COMPARED[found["compared"]]
    return [
        Chart(
            "separation",
            "Separation",
            "Similarity of each prompt to the safety direction.",
            policy_plots.separation(found),
        ),
        Chart(
            "alpha",
            "Steering strength",
            f"What steered prompts prefer, compared by {compared}.",
            policy_plots.alpha_curve(found, alpha, "this policy"),
        ),
    ]


def contributions(found: Record) -> ResultTable:
    """The phrases, those that hurt first."""
    rows = sorted(found["contributions"], key=lambda row: row["contribution"])
    cells = [[Cell(row["phrase"]), Cell(row["side"]), contribution(row["contribution"])] for row in rows]
    return ResultTable(("phrase", "side", "adds to AUC"), {"": cells})


def contribution(value: float) -> Cell:
    """What a phrase adds to the AUC, with a mark where that is less than nothing."""
    text = f"{value:+.4f}".replace("-", "−")
    return Cell(f"{text} ✗", False) if value < 0 else Cell(text)


def audit_html(found: Record) -> str:
    """An audit: the verdict, a row for each group, and the phrases to blame."""
    scale = f"G {found['gap']:.3f}, AUC {found['auc']:.3f}, alpha {found['alpha']:g}."
    said = (f"{sentence[:1].upper()}{sentence[1:]}." for sentence in bias_sentences(found))
    return (
        markup.note(f"{found['verdict'][:1].upper()}{found['verdict'][1:]}.", kind="says")
        + markup.note(scale)
        + markup.opened("Every group", markup.table(bias_table(found), f"{LEGEND}."), True)
        + markup.note(*said)
    )
