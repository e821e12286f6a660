"""A tiny autoencoder decodes for the rewards only where it orders pictures as the full one does."""

import logging

import pytest
import torch
from diffusers import AutoencoderTiny

from safediffusion.diffusion.load import load_tiny
from safediffusion.errors import UserError
from safediffusion.training.reward_decoder import LEAST, within_groups


def tiny(channels=4):
    torch.manual_seed(0)
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    return AutoencoderTiny(latent_channels=channels, **blocks, **counts)


def test_an_agreeing_decoder_takes_over_after_one_comparison(make_trainer, monkeypatch):
    trainer = make_trainer()
    calls = []
    full = trainer.diffuser.decode
    trainer.diffuser.tiny = tiny()
    monkeypatch.setattr(trainer.diffuser, "decode", lambda x: (calls.append("full"), full(x))[1])
    # as good as can be: the full decoder, a little off in brightness, which no comparison sees
    monkeypatch.setattr(
        trainer.diffuser, "decode_small", lambda x: (calls.append("small"), 0.9 * full(x) + 0.05)[1]
    )
    trainer.round()
    assert calls == ["small", "full"] and trainer.decode.agreement == pytest.approx(1)
    trainer.round()
    assert calls == ["small", "full", "small"]
    trainer.save({})
    resumed = make_trainer()
    resumed.resume()
    assert resumed.decode.agreement == trainer.decode.agreement


def test_a_decoder_that_disagrees_is_refused_once_and_said(make_trainer, caplog):
    plain, trainer = make_trainer("plain"), make_trainer("tiny")
    trainer.diffuser.tiny = tiny()  # random weights
    with caplog.at_level(logging.WARNING):
        rows = [trainer.round() for _ in range(2)]
    assert trainer.decode.agreement < LEAST
    assert [row["reward_mean"] for row in rows] == [plain.round()["reward_mean"] for _ in range(2)]
    assert len([r for r in caplog.records if "model.tiny_vae is not used" in r.getMessage()]) == 1


def test_agreement_is_of_what_a_group_compares():
    groups = torch.tensor([[0.1, 0.2, 0.4], [5.0, 5.1, 5.3]])
    assert within_groups(groups, 3 * groups + torch.tensor([[7.0], [-2.0]])) == pytest.approx(1)
    assert within_groups(groups, groups.flip(1)) < 0
    assert within_groups(groups, torch.ones_like(groups)) == 0


def test_a_tiny_autoencoder_is_loaded_and_checked(make_trainer, tmp_path):
    diffuser = make_trainer().diffuser
    tiny().save_pretrained(tmp_path / "tiny")
    diffuser.tiny = load_tiny(str(tmp_path / "tiny"), diffuser)
    assert diffuser.decode_small(torch.zeros(2, *diffuser.latent_shape)).shape[:2] == (2, 3)
    tiny(16).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="16 channels, but this model has 4"):
        load_tiny(str(tmp_path / "other"), diffuser)
    with pytest.raises(UserError, match=r"model\.tiny_vae=.*nowhere.* could not be loaded"):
        load_tiny(str(tmp_path / "nowhere"), diffuser)
