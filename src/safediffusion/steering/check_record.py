"""A check of a policy as JSON, and the labelled prompts that checks and audits are made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safediffusion.config.inputs import PromptsConfig
from safediffusion.errors import UserError
from safediffusion.prompts.select import Prompt, load_prompts

if TYPE_CHECKING:
    from safediffusion.steering.check import PolicyCheck


def by_label(prompts: Sequence[Prompt]) -> tuple[list[str], list[str]]:
    """Texts of the benign and the unsafe prompts."""
    safe = [prompt.text for prompt in prompts if prompt.label == "benign"]
    return safe, [prompt.text for prompt in prompts if prompt.label == "unsafe"]


def labelled_prompts(path: str) -> Sequence[Prompt]:
    """The prompts of a source that has both labels.

    Args:
        path: world, or a file or dataset with a label column.

    Raises:
        UserError: it cannot be read, or a label is missing.
    """
    rows = load_prompts(PromptsConfig(path=path)).rows
    if not all(by_label(rows)):
        raise UserError(f"{path} needs prompts of both labels; add a column `label` with benign and unsafe")
    return rows


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
