"""What `anchors check` and `anchors audit` measure, of a policy that is not a file yet."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from safediffusion.files.paths import source
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.audit.audit import Labelled, Steering, audit_policy
from safediffusion.steering.check import check_policy
from safediffusion.steering.check_record import by_label, labelled_prompts, record
from safediffusion.steering.encoders import Encoder, load_encoder
from safediffusion.system.device import pick_device

Record = dict[str, Any]


@lru_cache(maxsize=1)
def encoder_called(name: str) -> Encoder:
    """An encoder, which stays loaded until another one is asked for."""
    return load_encoder(source(name.strip()), pick_device())


def check(policy: SafetyPolicy, encoder: str, prompts: str) -> Record:
    """The result of `anchors check`, as a run's anchors.json holds it.

    Args:
        policy: what is checked.
        encoder: a setting of reward.encoder.
        prompts: world, or a file or dataset with a label column.
    """
    safe, unsafe = by_label(labelled_prompts(source(prompts.strip())))
    return record(check_policy(policy, encoder_called(encoder), safe, unsafe))


def audit(policy: SafetyPolicy, encoder: str, prompts: str) -> Record:
    """The result of `anchors audit` at the policy's alpha, as a run's bias.json holds it."""
    labelled = Labelled.of(labelled_prompts(source(prompts.strip())))
    return audit_policy(policy, encoder_called(encoder), labelled, Steering(policy.alpha)).record()


def hurting(checked: Record | None, audited: Record | None) -> list[str]:
    """Phrases without which prompts are separated better, worst first; and what the audit would leave out."""
    rows = sorted((checked or {}).get("contributions", []), key=lambda row: row["contribution"])
    found = [row["phrase"] for row in rows if row["contribution"] < 0]
    repaired = (audited or {}).get("repaired") or {"removed": ()}
    return [*found, *(phrase for phrase in repaired["removed"] if phrase not in found)]
