"""The options of an evaluation: one place for the defaults, and no option by a wrong name."""

from dataclasses import replace

import pytest

from safediffusion.config.schema import EvaluateConfig
from safediffusion.evaluation.options import EvaluationOptions
from safediffusion.evaluation.runner import evaluate
from safediffusion.evaluation.sampler import Sampler


def test_the_defaults_are_those_of_a_runs_settings() -> None:
    assert EvaluationOptions() == EvaluationOptions.of(EvaluateConfig(), None)
    changed = EvaluateConfig(seed=5, steps=7, guidance=2.0, eta=1.0)
    sampler = EvaluationOptions.of(changed, 9).sampler
    assert (sampler.steps, sampler.guidance, sampler.eta) == (7, 2.0, 1.0)


def test_what_holds_for_every_task_replaces_a_tasks_own_number_and_a_rows_own() -> None:
    published = Sampler(50, 7.5, name="lms", size=512, generator="cuda")
    rows = [{"prompt": "a", "seed": 3, "guidance": 8.0, "width": 640}, {"prompt": "b", "seed": 4}]
    assert EvaluationOptions().applied(published, rows) == (published, rows)
    sampler, kept = EvaluationOptions(every_task={"guidance": 1.0}).applied(published, rows)
    assert sampler == replace(published, guidance=1.0)
    assert kept == [{"prompt": "a", "seed": 3, "width": 640}, {"prompt": "b", "seed": 4}]
    assert EvaluationOptions(every_task={"steps": 4}).applied(published, rows) == (
        replace(published, steps=4),
        rows,
    )


def test_an_option_that_does_not_exist_is_refused_before_any_work() -> None:
    with pytest.raises(TypeError, match="guidence"):
        evaluate("world", ["world-i2p"], guidence=3.0)
