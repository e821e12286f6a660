"""Each autoencoder's own normalisation of latents, there and back."""

from typing import Any

import pytest
import torch

from safediffusion.diffusion.autoencoder import decoded, denormalised, encoded, normalised, patchify
from tests.pipelines import tiny_flux2, tiny_sana, vae


def mean_and_deviation() -> Any:
    """An autoencoder whose settings have a number for each channel, as of some models of SDXL's class."""
    return vae(4, scaling_factor=0.5, latents_mean=[0.1, -1.0, 0.5, 2.0], latents_std=[2.0, 0.5, 1.0, 3.0])


@pytest.mark.parametrize(
    "make", [mean_and_deviation, lambda: tiny_flux2().vae, lambda: vae(4, shift_factor=0.1)]
)
def test_normalising_is_the_inverse_of_denormalising(make: Any) -> None:
    autoencoder, own = make(), torch.randn(2, 4, 8, 8)
    latents = normalised(autoencoder, own)
    assert not torch.allclose(latents.flatten(), own.flatten(), atol=0.1)
    torch.testing.assert_close(denormalised(autoencoder, latents), own, atol=1e-5, rtol=0)


def test_a_number_for_each_channel_is_applied_to_its_channel() -> None:
    own = denormalised(mean_and_deviation(), torch.ones(1, 4, 1, 1))
    torch.testing.assert_close(own.flatten(), torch.tensor([4.1, 0.0, 2.5, 8.0]))


def test_a_square_of_latents_is_one_position_of_four_times_the_channels() -> None:
    pipeline, latents = tiny_flux2(), torch.randn(2, 4, 6, 8)
    assert torch.equal(patchify(latents), pipeline._patchify_latents(latents))


def test_an_autoencoder_without_a_distribution_encodes() -> None:
    autoencoder = tiny_sana().vae
    with torch.no_grad():
        latents = encoded(autoencoder, torch.rand(2, 3, 16, 16))
        assert latents.shape == (2, 4, 8, 8) and decoded(autoencoder, latents).shape == (2, 3, 16, 16)
