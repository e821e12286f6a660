"""Every kind of encoder behind one name: unit rows, the right preprocessing, readable refusals."""

import json
import string

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from safediffusion.errors import UserError
from safediffusion.steering import encoders
from safediffusion.steering.encoders import ClipEncoder, HpsEncoder, SiglipEncoder, load_encoder
from safediffusion.steering.preprocess import squash

CONTEXT = 12


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("siglip")
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_lowercase]
    tokenizer = Siglip2Tokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[])
    torch.manual_seed(0)
    size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    text = dict(**size, vocab_size=len(words), max_position_embeddings=CONTEXT, projection_size=32)
    vision = dict(**size, image_size=32, patch_size=8)
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def siglip(siglip_folder):
    return load_encoder(str(siglip_folder))


def test_a_folder_is_recognised_by_its_configuration(clip_folder, siglip):
    assert isinstance(load_encoder(str(clip_folder)), ClipEncoder)
    assert isinstance(siglip, SiglipEncoder) and siglip.dim == 32


def test_siglip_gives_unit_rows_of_pictures_and_texts(siglip):
    images = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([siglip.image(images), siglip.text(["a red dog", "calm", "harm " * 20])])
    assert rows.shape == (6, 32) and rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(6))


def test_siglip_text_is_lower_case_padded_to_the_context_and_alone_in_its_batch(siglip):
    assert siglip._tokens(["a"])["input_ids"].shape == (1, CONTEXT)
    alone, together = siglip.text(["a red dog"]), siglip.text(["A Red DOG", "calm cat of harm"])
    torch.testing.assert_close(alone[0], together[0], atol=1e-5, rtol=0)


def test_tokens_are_counted_before_a_text_is_cut(siglip, clip_folder):
    clip = ClipEncoder(clip_folder)
    assert clip.count_tokens("a red dog") == 5  # with its beginning and end
    for encoder in (siglip, clip):
        assert encoder.count_tokens("harm " * 40) > encoder.context
        assert encoder.text(["harm " * 40]).isfinite().all()


@pytest.mark.parametrize(("resample", "mode"), [(2, "bilinear"), (3, "bicubic")])
def test_squashing_equals_the_reference_processor(resample, mode):
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=resample)
    small = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((48, 80), Image.Resampling.BICUBIC)
    reference = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0]))
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    ours = squash(image, 32, processor.image_mean, processor.image_std, mode)[0]
    assert ((ours - reference) * 0.5).abs().max() <= 1e-2  # pixel units in [0, 1]


def test_safe_clip_takes_tokenizer_and_processor_of_its_base(clip_folder, tmp_path, monkeypatch):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clip_folder / name).read_bytes())
    monkeypatch.setitem(encoders.SAFE_CLIP, str(tmp_path), str(clip_folder))
    prompts = ["a safe photo", "a red dog"]
    assert torch.equal(load_encoder(str(tmp_path)).text(prompts), ClipEncoder(clip_folder).text(prompts))


def test_hps_uses_the_tokenizer_beside_its_file(clip_folder, tmp_path, monkeypatch):
    """The true size is refused nowhere else, so the network here is a small one with the same names."""
    clip = ClipEncoder(clip_folder)
    monkeypatch.setattr(encoders, "require_vit_h", lambda state, path: None)
    monkeypatch.setattr(encoders, "clip_model", lambda state: clip.model)
    clip.tokenizer.save_pretrained(tmp_path)
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "hps.safetensors")
    hps = load_encoder(str(tmp_path / "hps.safetensors"))
    images, prompts = torch.rand(2, 3, 32, 32), ["a red dog", "calm"]
    assert isinstance(hps, HpsEncoder) and hps.dim == clip.dim
    assert torch.equal(hps.text(prompts), clip.text(prompts))
    torch.testing.assert_close(hps.image(images), clip.image(images))


def test_what_is_no_encoder_is_refused_by_name(siglip_folder, clip_folder, tmp_path):
    with pytest.raises(UserError, match=r"not an encoder.*hpsv2\.1"):
        load_encoder(str(tmp_path / "nothing"))
    for kind, message in (("siglip2", "fixed size"), ("bert", "is a bert model")):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
        with pytest.raises(UserError, match=message):
            load_encoder(str(tmp_path))


def test_missing_weights_are_an_error_not_random_numbers(clip_folder, tmp_path):
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(clip_folder / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights.*visual_projection"):
        load_encoder(str(tmp_path))
