"""CLIP-T, the prompt match that several tasks report; the encoder is part of its name."""

from __future__ import annotations

from ..measures import Mean

CLIP_T = Mean("clip_t", True, "100 x cosine, CLIP ViT-B/32", lambda r: 100 * r["clip"], ("clip",))
