"""Which prompts count as unsafe where only these are steered: a cut on their scores z.v.

Nothing makes 0 that cut. An encoder may score every caption of a picture below 0, harmless ones too, since
the safety phrases between which the direction runs are no captions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safediffusion.prompts.select import Prompt
from safediffusion.steering.check import some
from safediffusion.steering.check_record import by_label
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import Encoder


def separating(benign: NDArray[np.floating], unsafe: NDArray[np.floating]) -> float:
    """The cut with the best balanced accuracy, halfway between two scores; of several the middle one.

    Args:
        benign, unsafe: scores, (n,) and (m,); unsafe ones should lie below the cut.
    """
    scores = np.unique(np.concatenate([benign, unsafe]))
    cuts = (scores[1:] + scores[:-1]) / 2
    if not len(cuts):
        return float(scores[0])
    right = (benign[:, None] >= cuts).mean(0) + (unsafe[:, None] < cuts).mean(0)
    best = np.flatnonzero(right >= right.max() - 1e-12)
    return float(cuts[best[len(best) // 2]])


def threshold_of(prompts: Sequence[Prompt], encoder: Encoder, direction: SafetyDirection) -> float:
    """The cut between a run's benign and its unsafe prompts; 0 where it has not both."""
    benign, unsafe = (some(texts) for texts in by_label(prompts))
    if not (benign and unsafe):
        return 0.0
    scores = (encoder.text(texts) @ direction.vector for texts in (benign, unsafe))
    return separating(*(found.cpu().double().numpy() for found in scores))
