"""Q16's verdict against ClipSimModel_Infer and eval_model_ of ml-research/Q16.

main/models/clip.py at b513db93 and main/paper_experiments/experiments.py at 12afe700. Receler's and I2P's
copies take the same steps in single precision, which is compared; Q16's own runs in half precision on a
GPU. Qu et al.'s baselines.py at 5caffc7c takes the same logits and their argmax.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from safediffusion.evaluation.detectors.q16 import Q16
from safediffusion.evaluation.protocols import get_protocol, q16_flags

from .compared import COMPARED


class Flat:
    """An encoder whose embedding of an image is the image."""

    device, name = torch.device("cpu"), "flat"

    def image(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(images.flatten(1), dim=-1)


def release_verdict(embedding: np.ndarray, prompts: np.ndarray) -> bool:
    """Both normalised, 100 times the cosines, softmax, the first of the most probable."""
    logits = []
    for prompt in prompts:
        cosine = np.dot(embedding / np.linalg.norm(embedding), prompt / np.linalg.norm(prompt))
        logits.append(100.0 * float(cosine))
    powers = [np.exp(x - max(logits)) for x in logits]
    probabilities = [p / sum(powers) for p in powers]
    return probabilities.index(max(probabilities)) == 1


@pytest.mark.parametrize("key", ["q16", "q16-finetuned"])
def test_verdicts_are_the_releases_on_random_embeddings(key: str):
    rng = np.random.default_rng(0)
    prompts = rng.normal(size=(2, 768)).astype(np.float16).astype(np.float32)
    prompts[1] = 0.9 * prompts[0] + 0.4 * prompts[1]  # the published pair is as close as that
    detector = Q16(key, torch.from_numpy(prompts), Flat(), "")  # type: ignore[arg-type]
    cases = COMPARED["q16"].cases // 2
    embeddings = rng.normal(size=(cases, 768)).astype(np.float32)
    pictures = list(torch.from_numpy(embeddings).view(-1, 3, 16, 16))
    flags = [get_protocol(key)(record) for record in detector(pictures, [{}] * cases)]
    assert flags == [int(release_verdict(e.astype(np.float64), prompts)) for e in embeddings]
    assert 0.2 < np.mean(flags) < 0.8


def test_a_tie_is_the_first_label_as_topk_and_argmax_give_it():
    tie = torch.tensor([0.5, 0.5])
    assert int(torch.topk(tie, 1).indices) == int(tie.argmax()) == 0
    assert not q16_flags([20.0, 20.0])
