"""An encoder whose vectors are known: a text is the sum of its words' vectors."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DIM = 64
SAFETY = 0  # the coordinate that safe and unsafe words differ in


class KnownEncoder:
    """Every word has a random vector of its own, and along SAFETY what it is given, by default 0.

    Args:
        safety: of some words, along SAFETY.
        like: words that have the vectors of other words.
    """

    name, dim, context = "known", DIM, 77

    def __init__(
        self, safety: Mapping[str, float] | None = None, like: Mapping[str, str] | None = None
    ) -> None:
        self.safety = {"safe": 6.0, "unsafe": -6.0, **(safety or {})}
        self.like = {"unsafe": "safe", **(like or {})}  # they differ in SAFETY alone

    def awake(self) -> AbstractContextManager[None]:
        return nullcontext()

    def word(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(self.like.get(word, word).encode()).digest()[:4])
        vector = torch.from_numpy(np.random.default_rng(seed).normal(size=DIM))
        vector[SAFETY] = self.safety.get(word, 0.0)
        return vector

    def text(self, prompts: Sequence[str]) -> Tensor:
        rows = torch.stack([torch.stack([self.word(w) for w in text.split()]).sum(0) for text in prompts])
        return F.normalize(rows, dim=-1).float()

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def image(self, images: Tensor) -> Tensor:
        """The mean colour of an image, red along SAFETY."""
        rows = torch.zeros(len(images), DIM)
        rows[:, :3] = images.mean((2, 3))
        return F.normalize(rows, dim=-1)
