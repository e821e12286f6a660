"""Rewards from outside the package: functions, and factories with the device and options."""

import pytest
import torch

from safediffusion.config import RewardConfig, dump, load_config
from safediffusion.errors import UserError
from safediffusion.steering.build import build_rewards
from safediffusion.text import strict_yaml

OWN = """
import torch

def bright(images, prompts):
    return images.mean((1, 2, 3))

def make(device, power=1.0, channels=(0, 1, 2)):
    weights = torch.ones(len(channels), device=device) / len(channels)
    def reward(images, prompts):
        return (images[:, list(channels)].mean((2, 3)) @ weights) ** power
    return reward

class Network(torch.nn.Module):
    def __init__(self, device, scale=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale, device=device))
    def forward(self, images, prompts):
        return self.scale.detach() * images.mean((1, 2, 3))

def about(device):
    about.device = device
    return bright

def one(images):
    return images.mean((1, 2, 3))

def makes_nothing(device):
    return None

number = 3
"""
IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
PROMPTS = ["a red dog", "a blue cat", "a red dog"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with rewards in it, whose module is imported anew."""
    import sys

    (tmp_path / "own_rewards.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    sys.modules.pop("own_rewards", None)


def score(kind, device="cpu", **options):
    config = RewardConfig(kind=f"own_rewards:{kind}", options=options)
    return build_rewards(config, device)(IMAGES, PROMPTS)[0]


def test_a_function_of_images_and_prompts_is_the_reward_itself():
    torch.testing.assert_close(score("bright"), IMAGES.mean((1, 2, 3)))


def test_a_factory_receives_the_options_and_returns_the_reward():
    expected = IMAGES[:, [0, 2]].mean((1, 2, 3)) ** 2
    torch.testing.assert_close(score("make", power=2, channels=[0, 2]), expected)
    torch.testing.assert_close(score("make"), IMAGES.mean((1, 2, 3)))


def test_a_class_whose_first_argument_is_the_device_is_a_factory():
    torch.testing.assert_close(score("Network", scale=2.0), 2 * IMAGES.mean((1, 2, 3)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_factory_receives_the_device_as_torch_has_it(device):
    build_rewards(RewardConfig(kind="own_rewards:about"), device)
    import own_rewards  # pyright: ignore[reportMissingImports]

    assert own_rewards.about.device == torch.device(device)


def test_each_reward_of_also_has_options_of_its_own():
    also = [
        {"kind": "own_rewards:make", "name": name, "options": {"power": p}}
        for name, p in (("a", 1), ("b", 2))
    ]
    rewards = build_rewards(RewardConfig.model_validate({"kind": "own_rewards:bright", "also": also}), "cpu")
    bright, first, second = rewards(IMAGES, PROMPTS)
    torch.testing.assert_close(first, bright)
    torch.testing.assert_close(second, bright**2)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("absent", {}, "cannot be imported"),
        ("number", {}, "reward.kind=own_rewards:number is not a function of .images, prompts., but int"),
        ("one", {}, "reward.kind=own_rewards:one is not a function of .images, prompts.: too many"),
        ("bright", {"power": 2}, "own_rewards:bright is not a factory"),
        ("make", {"powr": 2}, "reward.options do not fit own_rewards:make: .*'powr'"),
        ("makes_nothing", {}, "own_rewards:makes_nothing returned what is not a function"),
    ],
)
def test_what_is_neither_a_reward_nor_a_factory_is_refused_in_one_line(kind, options, message):
    with pytest.raises(UserError, match=message) as error:
        score(kind, **options)
    assert "\n" not in str(error.value)


def test_options_of_a_reward_that_comes_with_the_package_are_refused():
    with pytest.raises(UserError, match=r"reward\.kind=clip has none"):
        load_config(None, ["reward.kind=clip", "reward.options.power=2"])


@pytest.mark.parametrize(
    "word", ["reward.options.x={a: 1}", "reward.options.x=[[1]]", "reward.options.x=.inf"]
)
def test_an_option_that_is_not_a_plain_value_is_refused(word):
    with pytest.raises(UserError, match="x is not a plain value"):
        load_config(None, ["reward.kind=m:f", word])


def test_options_are_written_into_the_settings_of_a_run_and_read_back():
    words = [
        "reward.kind=m:f",
        "reward.options.power=2",
        "reward.options.names=[a, b]",
        "reward.options.low=0.5",
    ]
    config = load_config(None, words)
    assert config.reward.options == {"power": 2, "names": ["a", "b"], "low": 0.5}
    assert strict_yaml.parse(dump(config), "dump")["reward"]["options"] == config.reward.options
