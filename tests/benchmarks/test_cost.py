"""The cost model: work counted as a real round does it, coefficients recovered from points they made."""

import pytest
import torch
from cost import MEMORY, SECONDS, Measured, errors, fit, predict
from torch.utils.flop_counter import FlopCounterMode

from safediffusion.diffusion.load import as_diffuser
from safediffusion.run.model_cost import model_cost
from safediffusion.run.workload import Work, count_work, sampled_rows
from tests.pipelines import FAMILIES, RESOLUTION
from tests.training.conftest import make_trainer, small_config

__all__ = ["make_trainer"]


def counted(family="sd", devices=1, **changes):
    config, diffuser = small_config(**changes), as_diffuser(FAMILIES[family](), resolution=RESOLUTION)
    return count_work(config, model_cost(diffuser, config.train.lora_rank, config.train.recompute), devices)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train__algorithm": "nft", "train__updates": 2, "train__kl": 0.1},
        {"train__algorithm": "awm"},
        {"train__timestep_fraction": 0.5, "train__kl": 0.1},
        {"train__lora_rank": 4},
        {"train__recompute": True},
    ],
    ids=["grpo", "nft", "awm", "subset", "lora", "recompute"],
)
def test_work_is_what_a_round_really_does(make_trainer, changes):
    trainer = make_trainer(**changes)
    with FlopCounterMode(display=False) as counter:
        trainer.round()
    work = counted(**changes)
    total = work.sample_flops + work.decode_flops + work.update_flops
    # the image statistics multiply a little too; a forgotten forward pass would be more than 1%
    assert total == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_branches_share_the_steps_before_a_window_of_mean_place(make_trainer, monkeypatch):
    changes = {"rollout__steps": 8, "rollout__branches": 2, "train__window": 2}
    trainer = make_trainer(**changes)
    network = trainer.diffuser.network  # its calls are counted; what they compute changes no count
    monkeypatch.setattr(network, "forward", lambda latents, *args, **named: (torch.zeros_like(latents),))
    passed = []
    for step in range(60):
        with trainer.passes.counting(network):
            trainer.algorithm.sample(trainer.groups(step).batch)
        passed.append(trainer.passes.take()["forward"] / 2)  # guidance doubles the rows
    rows = sampled_rows(trainer.config, images=8)
    assert rows == 8 * (8 - 3 / 2)
    assert sum(passed) / len(passed) == pytest.approx(rows, rel=0.05)  # places drawn at random


def test_devices_share_images_and_add_their_gradients():
    one, two = counted(), counted(devices=2)
    assert two.images == one.images / 2 and two.sample_flops == one.sample_flops / 2
    assert (one.reduced, two.reduced) == (0, one.elements)
    assert counted(devices=2, rollout__prompts=3).images == 8, "the busiest device has two of three groups"


def test_cost_grows_linearly_in_images_and_steps_and_activations_do_not():
    sizes = [counted(rollout__steps=n, rollout__prompts=p) for n, p in ((4, 2), (8, 2), (4, 4))]
    assert sizes[1].sample_flops == sizes[2].sample_flops == 2 * sizes[0].sample_flops
    assert sizes[1].update_flops == sizes[2].update_flops == 2 * sizes[0].update_flops
    assert sizes[0].kept_mib == sizes[1].kept_mib > 0
    pictures = (sizes[2].images - sizes[0].images) * 3 * RESOLUTION**2 * 4 / 2**20
    assert sizes[2].kept_mib == pytest.approx(sizes[0].kept_mib + pictures)


TRUE = {
    "sample": {"sample_flops": 1e-14, "sample_calls": 2e-3},
    "decode": {"decode_flops": 3e-14},
    "score": {"images": 1e-3},
    "update": {"update_flops": 2e-14, "update_calls": 5e-3, "elements": 1e-9, "reduced": None},
    "other": {"images": 2e-4},
    "memory": {"held_mib": 1.1, "kept_mib": 1.3, "fixed": 400.0},
}


def points(n=6, noise=0.0):
    torch.manual_seed(0)
    size = {"sample_flops": 1e15, "decode_flops": 1e13, "update_flops": 1e15, "elements": 1e9, "images": 100}
    for i in range(n):
        draw = {name: float(scale * 10 ** torch.rand(())) for name, scale in size.items()}
        calls = {"sample_calls": float(50 * (i + 1)), "update_calls": float(100 + 37 * i * i)}
        memory = {"held_mib": 1000.0 * (i + 1), "kept_mib": 500.0 * (7 - i) ** 2}
        work = Work(**draw, **calls, **memory, reduced=0.0)
        true = predict(work, TRUE)
        seconds = {phase: s * (1 + noise * float(torch.randn(()))) for phase, s in true.seconds.items()}
        yield Measured(str(i), work, seconds, true.peak_mib)


def test_fit_recovers_the_coefficients_that_made_the_points():
    found = fit(list(points()))
    for group, own in TRUE.items():
        for name, value in own.items():
            assert found[group][name] == (None if value is None else pytest.approx(value, rel=1e-6)), name


def test_a_held_out_point_is_predicted_within_its_noise():
    *used, held = points(12, noise=0.02)
    found = errors(held, predict(held.work, fit(used)))
    # 11 points with 2% noise: the mean is known to under 1%, the held-out one has 2% of its own
    assert abs(found["seconds"]) < 0.06 and abs(found["memory"]) < 1e-6
    assert set(found) == {"seconds", "memory", *SECONDS}


def test_work_that_was_never_measured_is_named_not_guessed():
    coefficients = fit(list(points()))
    assert coefficients["update"]["reduced"] is None
    prediction = predict(counted(devices=2), coefficients)
    assert prediction.left_out == ["reduced"]
    assert prediction.total > 0 and predict(counted(), coefficients).left_out == []


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match=f"cannot fit {max(len(MEMORY) + 1, 3)} coefficients"):
        fit(list(points(2)))
