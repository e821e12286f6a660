"""What a run refuses before it writes anything: tasks and metrics that it could never have."""

from typing import Any

import pytest

from safediffusion.config import RunConfig
from safediffusion.diffusion.load import as_diffuser
from safediffusion.errors import UserError
from safediffusion.run.preflight import check_kept, check_model, check_tasks
from tests.pipelines import FAMILIES, RESOLUTION


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("i2p", r"cannot evaluate i2p \(i2p loads prompts .*`safediffusion evaluate`"),
        ("clip", r"cannot evaluate clip \(this task has no prompts of its own"),
        ("fid", r"cannot evaluate fid \(fid measures a distance from real images"),
        ("world-genevl", "did you mean world-geneval"),
    ],
)
def test_tasks_that_need_more_than_a_run_gives_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_tasks([name])


def test_worlds_tasks_are_taken() -> None:
    check_tasks(RunConfig().evaluate.tasks)


def kept(metric: str, **evaluate: Any) -> RunConfig:
    settings = {"during_every": 10} | evaluate
    return RunConfig.model_validate({"train": {"keep_best": metric}, "evaluate": settings})


@pytest.mark.parametrize(
    ("metric", "evaluate"),
    [("-world-i2p/inapropriate_rate", {}), ("world-benign/clip_t", {"tasks": ["world-i2p"]})],
)
def test_a_best_metric_that_no_small_evaluation_has_is_refused(metric: str, evaluate: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"not a metric of evaluate\.tasks; known: .*inappropriate_rate"):
        check_kept(kept(metric, **evaluate))


def test_a_best_metric_of_the_small_evaluations_is_taken() -> None:
    check_kept(kept("-world-i2p/inappropriate_rate"))
    check_kept(kept("reward_mean"))


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_a_network_without_cross_attention_is_refused_where_a_share_is_steered(family: str) -> None:
    diffuser = as_diffuser(FAMILIES[family](), resolution=RESOLUTION)
    check_model(RunConfig(), diffuser, 1)
    steered = RunConfig.model_validate({"rollout": {"steered": 0.25}})
    if family in ("sd", "sdxl"):
        check_model(steered, diffuser, 1)
    else:
        with pytest.raises(UserError, match=r"has none.*rollout\.steered=0"):
            check_model(steered, diffuser, 1)
