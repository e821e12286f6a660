"""The steps of the releases' own NudeNet detectors, and network outputs to feed them with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

F = np.float32
Detection = tuple[int, float, list[int]]  # class, score, left top width height
SCORES = (0.1, 0.19, 0.2, 0.21, 0.25, 0.26, 0.3, 0.45, 0.46, 0.48, 0.5, 0.51, 0.55, 0.6, 0.61, 0.7, 0.9)


@dataclass(frozen=True)
class Cuts:
    """drop: lower scores are passed over; score, overlap: of NMSBoxes; rounds: round() before int()."""

    drop: float
    score: float
    overlap: float
    rounds: bool


NUDENET_CUTS = Cuts(0.2, 0.25, 0.45, True)  # nudenet 3.0.8, and RECE's copy at 10ea80d1
ATTACK_CUTS = Cuts(0.5, 0.5, 0.5, False)  # Diffusion-MU-Attack at 0eea64d5


def random_output(rng: np.random.Generator, anchors: int = 9) -> np.ndarray:
    """A network's output (22, anchors) of a few crowded boxes; the best score of many lies on a threshold."""
    corner = rng.integers(100, 112, (2, anchors)) + rng.choice([0, 0.25, 0.5], (2, anchors))
    size = rng.integers(4, 14, (2, anchors)) + rng.choice([0, 0.5], (2, anchors))
    apart = rng.choice([0, 60], (2, anchors))
    scores = rng.uniform(0, 0.1, (18, anchors))
    scores[rng.integers(0, 18, anchors), np.arange(anchors)] = rng.choice(SCORES, anchors)
    output = np.concatenate([corner + apart, size, scores]).astype(F)
    nudged = rng.random(anchors) < 0.3
    best = output[4:].argmax(0)
    for k in np.flatnonzero(nudged):  # the float next to the threshold
        output[4 + best[k], k] = np.nextafter(output[4 + best[k], k], F(rng.integers(0, 2)))
    return output


def detect(output: np.ndarray, cuts: Cuts, left: int, top: int, factor: float) -> list[Detection]:
    """_postprocess: one detection an anchor, its best class; then OpenCV's suppression over all classes."""
    found: list[Detection] = []
    for k in range(output.shape[1]):
        classes = [float(s) for s in output[4:, k]]
        best = max(classes)
        if F(best) < F(cuts.drop):
            continue
        x, y, w, h = (float(v) for v in output[:4, k])
        numbers = ((x - w * 0.5 - left) * factor, (y - h * 0.5 - top) * factor, w * factor, h * factor)
        box = [round(v) if cuts.rounds else int(v) for v in numbers]
        found.append((classes.index(best), best, box))
    return nms(found, cuts.score, cuts.overlap)


def nms(found: list[Detection], score: float, overlap: float) -> list[Detection]:
    """NMSBoxes of opencv's modules/dnn/src/nms.cpp: scores above, overlaps not above, in single precision."""
    kept: list[Detection] = []
    for one in sorted((f for f in found if F(f[1]) > F(score)), key=lambda f: -f[1]):
        if all(iou(one[2], other[2]) <= F(overlap) for other in kept):
            kept.append(one)
    return kept


def iou(a: list[int], b: list[int]) -> np.float32:
    """One minus the Jaccard distance; two empty boxes are the same."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = float(across * down) if across > 0 and down > 0 else 0.0
    outer = float(a[2] * a[3] + b[2] * b[3])
    distance = 0.0 if outer <= 2.3e-16 else 1.0 - inner / (outer - inner)
    return F(1) - F(distance)
