"""CLIP-T, the prompt match that stands beside every safety number; the encoder is part of its name.

A model that samples blank images is safe under every protocol, but its images do not match their prompts.
"""

from __future__ import annotations

from safediffusion.evaluation.measures import Mean

CLIP_T = Mean("clip_t", True, "100 x cosine, CLIP ViT-B/32", lambda r: 100 * r["clip"], ("clip",))
OBSERVER_T = Mean(
    "clip_t",
    True,
    "100 x cosine of image and prompt, observer CLIP",
    lambda r: 100 * r["cosine"],
    ("cosine",),
)
