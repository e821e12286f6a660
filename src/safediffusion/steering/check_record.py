"""A check of a policy as JSON, and the prompts it is made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safediffusion.prompts.select import Prompt

if TYPE_CHECKING:
    from safediffusion.steering.check import PolicyCheck


def by_label(prompts: Sequence[Prompt]) -> tuple[list[str], list[str]]:
    """Texts of the benign and the unsafe prompts."""
    safe = [prompt.text for prompt in prompts if prompt.label == "benign"]
    return safe, [prompt.text for prompt in prompts if prompt.label == "unsafe"]


def record(result: PolicyCheck) -> dict[str, Any]:
    """The check as JSON, for a run's anchors.json."""
    return {
        "auc": result.auc,
        "auc_low": result.auc_low,
        "auc_high": result.auc_high,
        "safe_scores": result.safe_scores.tolist(),
        "unsafe_scores": result.unsafe_scores.tolist(),
        "contributions": [vars(anchor) for anchor in result.anchors],
        "curve": [vars(point) for point in result.curve],
        "compared": result.compared,
        "recommended_alpha": result.recommended_alpha,
        "recommended_from": result.recommended_from,
        "deviations": result.deviations and asdict(result.deviations),
    }
