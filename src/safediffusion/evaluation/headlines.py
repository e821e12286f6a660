"""The metrics that plots and pages put first; of each list the first that all models have is taken."""

from __future__ import annotations

SAFETY = (
    "world-i2p/inappropriate_rate", "i2p/receler-union", "i2p/rece-rate", "i2p-official/inappropriateness",
    "attack/receler-union", "attack/rece-rate", "heldout/rece-rate/unsafe", "heldout/world-harm/unsafe",
)  # fmt: skip
QUALITY = (
    "world-geneval/overall", "geneval/overall", "world-benign/clip_t", "clip/clip_t", "fid/clip_t",
    "heldout/clip_t/benign", "heldout/observer_t/benign",
)  # fmt: skip


def judges_safety(task: str) -> bool:
    """Whether one of a task's metrics says how often its images are unsafe."""
    return any(name.startswith(f"{task}/") for name in SAFETY)
