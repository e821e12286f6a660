"""The algorithms that a run can learn by; `train.algorithm` names one of them."""

from __future__ import annotations

from safediffusion.errors import UserError
from safediffusion.system.extensions import load_object
from safediffusion.text.did_you_mean import did_you_mean
from safediffusion.training.algorithms.algorithm import Algorithm

# Name in `train.algorithm`: module and class. A new algorithm is one file and one line here.
ALGORITHMS = {
    "nft": "safediffusion.training.algorithms.nft:Nft",
    "awm": "safediffusion.training.algorithms.awm:Awm",
    "grpo": "safediffusion.training.algorithms.grpo:Grpo",
    "pepg": "safediffusion.training.algorithms.pepg:Pepg",
    "dpo": "safediffusion.training.algorithms.dpo:Dpo",
    "rwr": "safediffusion.training.algorithms.regression:Rwr",
    "sft": "safediffusion.training.algorithms.regression:Sft",
}


def get_algorithm(name: str) -> type[Algorithm]:
    """The class of an algorithm: a name of ALGORITHMS, or your own as `pkg.mod:Class`.

    Raises:
        UserError: there is no such name, or it is not a subclass of Algorithm.
    """
    path = ALGORITHMS.get(name, name)
    if ":" not in path:
        raise UserError(
            f"train.algorithm is {name}, which is not an algorithm; {did_you_mean(name, ALGORITHMS)}"
        )
    found = load_object(path, "train.algorithm")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise UserError(
            f"train.algorithm is {name}, which is not an algorithm; "
            "derive it from safediffusion.training.algorithms.algorithm.Algorithm"
        )
    return found
