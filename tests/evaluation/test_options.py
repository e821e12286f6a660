"""The options of an evaluation: one place for the defaults, and no option by a wrong name."""

import pytest

from safediffusion.config.schema import EvaluateConfig
from safediffusion.evaluation.options import EvaluationOptions
from safediffusion.evaluation.runner import evaluate


def test_the_defaults_are_those_of_a_runs_settings() -> None:
    assert EvaluationOptions() == EvaluationOptions.of(EvaluateConfig(), None)
    changed = EvaluateConfig(seed=5, steps=7, guidance=2.0, eta=1.0)
    sampler = EvaluationOptions.of(changed, 9).sampler
    assert (sampler.steps, sampler.guidance, sampler.eta) == (7, 2.0, 1.0)


def test_an_option_that_does_not_exist_is_refused_before_any_work() -> None:
    with pytest.raises(TypeError, match="guidence"):
        evaluate("world", ["world-i2p"], guidence=3.0)
