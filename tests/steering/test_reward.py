import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from transformers import AutoConfig, CLIPImageProcessorPil

from safediffusion.config import RewardConfig, load_config
from safediffusion.errors import UserError
from safediffusion.steering.anchors import SafetyPolicy
from safediffusion.steering.build import build_rewards
from safediffusion.steering.direction import SafetyDirection
from safediffusion.steering.encoders import load_encoder
from safediffusion.steering.preprocess import preprocess
from safediffusion.steering.reward import (
    ClipReward,
    NegativeClipReward,
    Rewards,
    SteeringReward,
    WeightedReward,
)
from tests.waiting import THERE_AND_BACK, waiting

POLICY = SafetyPolicy("p", "", ("a safe photo", "calm"), ("unsafe", "harm"))
PROMPTS = ["a red dog", "a blue cat", "a red dog"]


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def direction(encoder):
    return SafetyDirection.from_anchors(encoder, POLICY)


def test_alpha_zero_is_plain_clip_alignment(encoder, direction, images):
    steered = SteeringReward(encoder, direction, alpha=0.0)(images, PROMPTS)
    assert torch.equal(steered, ClipReward(encoder)(images, PROMPTS))


def test_the_reward_is_the_cosine_with_the_steered_prompt(encoder, direction, images):
    target = direction.steer(encoder.text(PROMPTS), 0.5)
    expected = (encoder.image(images) * target).sum(-1)
    rewards = SteeringReward(encoder, direction, alpha=0.5)(images, PROMPTS)
    assert rewards.shape == (3,) and rewards.dtype == torch.float32
    assert torch.allclose(rewards, expected, atol=1e-6)


def test_only_prompts_below_the_threshold_are_steered(encoder, direction, images):
    scores = encoder.text(PROMPTS[:2]) @ direction.vector
    between = float(scores.mean())
    some = SteeringReward(encoder, direction, below=between)
    steered, plain = SteeringReward(encoder, direction), ClipReward(encoder)
    low, high = (PROMPTS[int(i)] for i in scores.argsort())
    assert torch.equal(some(images[:1], [low]), steered(images[:1], [low]))
    assert torch.equal(some(images[:1], [high]), plain(images[:1], [high]))


def test_each_prompt_is_encoded_once(encoder, direction, images, monkeypatch):
    seen = []
    reward = SteeringReward(encoder, direction)
    monkeypatch.setattr(encoder, "text", lambda p, text=encoder.text: (seen.extend(p), text(p))[1])
    for _ in range(3):
        reward(images, PROMPTS)
    assert seen == ["a red dog", "a blue cat"]


def test_a_target_is_the_same_whatever_else_is_asked_for(encoder, direction):
    together, alone = SteeringReward(encoder, direction), SteeringReward(encoder, direction)
    words = [*PROMPTS, "a photo of a calm blue cat of a safe red dog"]
    batch = together.targets(words)
    assert all(torch.equal(batch[i], alone.targets([word])[0]) for i, word in enumerate(words))


def test_negative_clip_is_minus_the_mean_cosine_with_unsafe_anchors(encoder, images):
    expected = -(encoder.image(images) @ encoder.text(POLICY.unsafe).T).mean(1)
    assert torch.allclose(NegativeClipReward(encoder, POLICY.unsafe)(images, PROMPTS), expected)


def test_views_average_distorted_copies(encoder, images):
    one, four = (ClipReward(encoder, views=views)(images, PROMPTS) for views in (1, 4))
    assert not torch.equal(one, four) and torch.allclose(one, four, atol=0.5)


@pytest.mark.parametrize(("h", "w"), [(64, 64), (48, 80), (32, 32), (20, 24)])
def test_preprocessing_equals_the_reference_processor(h, w):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (h // 4, w // 4, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC)
    reference = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0]))
    image = torch.from_numpy(np.asarray(picture)).permute(2, 0, 1)[None].float() / 255
    ours = preprocess(image, 32, processor.image_mean, processor.image_std)[0]
    std = torch.tensor(processor.image_std).view(3, 1, 1)
    assert ((ours - reference) * std).abs().max() <= 1e-2  # pixel units in [0, 1]


def test_rewards_are_built_from_a_configuration(clip_folder, images):
    config = RewardConfig(encoder=str(clip_folder), anchors="scaled")
    reward = build_rewards(config, "cpu").parts[0].function
    assert isinstance(reward, SteeringReward) and reward(images, PROMPTS).isfinite().all()
    with pytest.raises(UserError, match="steering, clip, negative-clip"):
        build_rewards(RewardConfig(kind="stering"), "cpu")
    with pytest.raises(UserError, match="is not an encoder"):
        build_rewards(RewardConfig(encoder=str(clip_folder.parent)), "cpu")


def test_an_encoder_that_is_not_here_offline_is_named_with_the_command_that_gets_it(monkeypatch):
    def offline(name, **options):
        raise OSError("no connection") from LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    with pytest.raises(UserError, match="cannot be reached; get it with: hf download a/b; or set"):
        load_encoder("a/b")


def test_several_rewards_are_built_with_their_weights_and_share_an_encoder(clip_folder, images):
    also = [{"kind": "clip", "weight": 0.5}, {"kind": "tests.cli.rewards:brightness", "name": "bright"}]
    config = RewardConfig.model_validate(
        {"encoder": str(clip_folder), "also": [one | {"encoder": str(clip_folder)} for one in also]}
    )
    rewards = build_rewards(config, "cpu")
    assert (rewards.names, rewards.weights) == (["steering", "clip", "bright"], [1.0, 0.5, 1.0])
    steering, clip, _ = (part.function for part in rewards.parts)
    assert steering.encoder is clip.encoder
    scores = rewards(images, PROMPTS)
    assert scores.shape == (3, 3) and torch.equal(scores[0], steering(images, PROMPTS))
    torch.testing.assert_close(scores[2], images.mean((1, 2, 3)))


def test_every_reward_moves_its_encoder_once_a_round(clip_folder, images):
    also = [{"kind": "clip", "encoder": str(clip_folder), "views": 3}]
    config = RewardConfig.model_validate({"encoder": str(clip_folder), "views": 2, "also": also})
    rewards = build_rewards(config, "cpu", offload=True)
    rewards.parts[0].function.encoder.offloaded, moves = waiting()
    scores = [rewards(images, PROMPTS) for _ in range(2)]
    assert moves == THERE_AND_BACK * len(rewards.parts) * 2
    assert torch.equal(scores[0], build_rewards(config, "cpu")(images, PROMPTS))


def test_two_rewards_of_one_name_are_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "extends: world\nreward:\n  also:\n  - kind: steering\n    alpha: 0.2\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"two rewards are called steering.*name"):
        load_config(file, [])
    file.write_text(file.read_text(encoding="utf-8") + "    name: gentle\n", encoding="utf-8")
    assert load_config(file, []).reward.also[0].label == "gentle"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images, prompts: images.mean((2, 3)), r"returned the shape \(3, 3\) for 3 images"),
        (lambda images, prompts: images.mean((1, 2, 3)) * torch.nan, "nan or infinity"),
    ],
)
def test_a_reward_that_does_not_return_one_number_per_image_is_named(images, function, message):
    rewards = Rewards([WeightedReward("mine", 1.0, function)])
    with pytest.raises(UserError, match=f"reward mine .*{message}"):
        rewards(images, PROMPTS)
