import math

import pytest
import torch

from safediffusion.files.json_lines import read_jsonl
from safediffusion.training import checkpoint
from safediffusion.training.collapse_alarm import PATIENCE, START, CollapseAlarm, image_statistics


def row(reward, recognisable=1.0, **stats):
    usual = {"edge_density": 0.2, "colour_entropy": 3.0, "saturation": 0.3, "high_frequency": 0.05}
    return {
        "reward_mean": reward, "reward_std": 0.1, "recognisable": recognisable, "image_stats": usual | stats
    }  # fmt: skip


def feed(rows):
    monitor = CollapseAlarm()
    return monitor, [monitor.update(i + 1, r) for i, r in enumerate(rows)]


def test_statistics_tell_flat_noisy_and_striped_pictures_apart():
    torch.manual_seed(0)
    flat = torch.full((2, 3, 16, 16), 0.5)
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float().expand(2, 3, 16, 16)
    smooth = torch.linspace(0, 1, 16).expand(2, 3, 16, 16)
    tint = flat.clone()
    tint[:, 0] = 1.0
    assert image_statistics(flat) == {
        "edge_density": 0.0, "colour_entropy": 0.0, "saturation": 0.0, "high_frequency": 0.0
    }  # fmt: skip
    assert image_statistics(board)["high_frequency"] > 0.99 > 0.2 > image_statistics(smooth)["high_frequency"]
    assert image_statistics(board)["edge_density"] == 1.0
    assert image_statistics(board)["colour_entropy"] == pytest.approx(1.0)  # two colours: one bit
    assert image_statistics(tint)["saturation"] == pytest.approx(0.5)


def test_silent_while_the_reward_rises_and_pictures_stay():
    _, found = feed(
        [row(0.3 + 0.02 * i, 0.95 + 0.05 * (-1) ** i, edge_density=0.2 + 0.002 * i) for i in range(40)]
    )
    assert found == [None] * 40


def test_alarm_when_the_reward_rises_and_scenes_get_lost():
    monitor, found = feed([row(0.3 + 0.02 * i, max(0.0, 1 - 0.04 * i)) for i in range(30)])
    assert found[-1] is not None and "recognisable" in found[-1]
    assert monitor.collapsed_at is not None and START + PATIENCE <= monitor.collapsed_at < 20


def test_alarm_on_statistics_alone_needs_two_of_them():
    one = [row(0.3 + 0.02 * i, None, high_frequency=0.05 * (1 + i)) for i in range(20)]
    both = [
        row(0.3 + 0.02 * i, None, high_frequency=0.05 * (1 + i), edge_density=0.2 + i / 20) for i in range(20)
    ]
    assert feed(one)[1] == [None] * 20
    assert "high_frequency" in (feed(both)[1][-1] or "")


@pytest.mark.parametrize("name", ["reward_mean", "reward_std", "recognisable", "edge_density"])
@pytest.mark.parametrize("first", [0, START + 2])
def test_numbers_that_are_not_finite_raise_the_alarm_and_are_not_kept(name, first):
    rows = [row(0.3) for _ in range(first + PATIENCE)]
    for bad in rows[first:]:
        (bad["image_stats"] if name == "edge_density" else bad)[name] = float("nan")
    monitor, found = feed(rows)
    assert found[-1] is not None and "is not finite" in found[-1] and found[:-1] == [None] * (len(rows) - 1)
    assert all(math.isfinite(v) for v in (*monitor.start.values(), *monitor.now.values()))


def test_lost_scenes_alarm_without_a_rising_reward_too():
    assert feed([row(0.3, max(0.0, 1 - 0.05 * i)) for i in range(30)])[1][-1] is not None


def test_one_bad_round_is_no_alarm():
    rows = [row(0.5, 1.0) for _ in range(20)]
    rows[10] = row(2.0, 0.0)
    assert feed(rows)[1] == [None] * 20


def test_state_survives_a_resume():
    rows = [row(0.3 + 0.02 * i, max(0.0, 1 - 0.04 * i)) for i in range(30)]
    monitor, found = feed(rows[:9])
    resumed = CollapseAlarm(**monitor.state())
    assert [resumed.update(i + 1, r) for i, r in enumerate(rows) if i >= 9] == feed(rows)[1][9:]
    assert found == feed(rows)[1][:9]


HACKING = {
    "train__lr": 3e-2, "train__steps": 16, "train__clip_range": 1.0, "rollout__group_size": 8,
    "train__micro_batch": 32, "train__sample_every": 16, "train__checkpoint_every": 2,
}  # fmt: skip


def contrast(images):
    """Whether a picture still has any: the tiny network's stand-in for being recognisable."""
    return (images.std((1, 2, 3)) > 0.05).float().mean().item()


def assert_collapsed(trainer, result, rounds):
    rows = read_jsonl(trainer.folder.metrics)
    assert result.status == "collapsed" and result.collapsed_at is not None
    assert rows[result.collapsed_at - 1]["collapse"] and not rows[0]["collapse"]
    assert "warning: round" in trainer.folder.log.read_text(encoding="utf-8")
    healthy = checkpoint.read_state(trainer.folder.checkpoints / "healthy")
    assert healthy["healthy"] and healthy["step"] < result.collapsed_at
    assert len(rows) == rounds
    assert (trainer.folder.model / "model_index.json").is_file()


def test_a_run_that_hacks_its_reward_raises_the_alarm_stops_and_keeps_a_healthy_checkpoint(make_trainer):
    trainer = make_trainer(recognisable=contrast, train__stop_on_collapse=True, **HACKING)
    result = trainer.run()
    assert_collapsed(trainer, result, result.collapsed_at)


def test_a_collapsed_run_goes_on_unless_it_is_to_stop(make_trainer):
    found = iter([1.0] * START + [0.0] * 5)  # of each round
    trainer = make_trainer(recognisable=lambda images: next(found), train__steps=START + 5)
    assert_collapsed(trainer, trainer.run(), START + 5)


def test_an_alarm_before_the_first_planned_checkpoint_finds_a_healthy_one(make_trainer):
    found = iter([1.0] * START + [0.0] * 5)
    trainer = make_trainer(
        recognisable=lambda images: next(found), train__steps=START + 5, train__checkpoint_every=100,
        train__stop_on_collapse=True,
    )  # fmt: skip
    result = trainer.run()
    assert_collapsed(trainer, result, result.collapsed_at)
    assert "the healthy checkpoint" in trainer.folder.log.read_text(encoding="utf-8")


def test_an_alarm_without_a_healthy_checkpoint_says_what_model_holds(make_trainer, caplog):
    trainer = make_trainer()
    trainer.step = 7
    trainer.recorder.finish(7, collapsed=True)
    assert "holds the collapsed weights of round 7" in caplog.text


def test_a_gentle_run_raises_none(make_trainer):
    trainer = make_trainer(recognisable=contrast, **HACKING | {"train__lr": 1e-4, "train__steps": 8})
    assert trainer.run().status == "finished"
    assert not any(row["collapse"] for row in read_jsonl(trainer.folder.metrics))
