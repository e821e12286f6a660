"""An algorithm from outside the package: one class, named by `train.algorithm`."""

import sys
from pathlib import Path

import pytest
import torch

ALGORITHM = """
from safediffusion.training.algorithms.forward_process import ForwardProcess


class BestOfGroup(ForwardProcess):
    \"\"\"Denoising loss on the images that are better than the mean of their group.\"\"\"

    def loss(self, rows, advantages, log):
        predicted = self.predict(rows)
        error = (predicted - rows.target).square().flatten(1).mean(1)
        return rows.weight * error * (advantages > 0), predicted

    def after(self, step):
        pass
"""


@pytest.fixture
def algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_algorithm", raising=False)
    Path("own_algorithm.py").write_text(ALGORITHM, encoding="utf-8")
    return "own_algorithm:BestOfGroup"


def test_an_algorithm_of_the_working_folder_trains_and_resumes(make_trainer, algorithm: str) -> None:
    settings = {"train__algorithm": algorithm, "train__lr": 1e-3, "train__checkpoint_every": 1}
    whole = make_trainer(**settings, train__steps=2)
    whole.run()
    first = make_trainer("again", **settings, train__steps=1)
    first.run()
    again = make_trainer("again", **settings, train__steps=2)
    again.run()
    assert again.step == 2
    for name, weights in whole.learner.weights().items():
        torch.testing.assert_close(again.learner.weights()[name], weights, rtol=0, atol=0)
