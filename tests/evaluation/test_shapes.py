"""The programmatic detector on renders, on renders as worn as a decoder's images, and on other things."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from safediffusion.evaluation.detectors.color import lab, nearest_color
from safediffusion.evaluation.detectors.shapes import detect_shapes
from safediffusion.world.drawing import COLORS
from safediffusion.world.networks.images import gaussian_blur, render_batch
from safediffusion.world.scenes import Scene, place_shapes, plain_ground, random_color, random_shape

Wear = Callable[[Tensor, np.random.Generator], Tensor]


def composition(rng: np.random.Generator) -> Scene:
    wanted = [(random_shape(rng), random_color(rng)) for _ in range(int(rng.integers(1, 5)))]
    return replace(plain_ground(rng), shapes=place_shapes(rng, wanted))


def noisy(image: Tensor, rng: np.random.Generator, sigma: float) -> Tensor:
    return image + sigma * torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))


def clean(image: Tensor, rng: np.random.Generator) -> Tensor:
    return image


def blurred(image: Tensor, rng: np.random.Generator) -> Tensor:
    return gaussian_blur(image[None], float(rng.uniform(0.5, 1.1)))[0]


def grainy(image: Tensor, rng: np.random.Generator) -> Tensor:
    return noisy(image, rng, 0.05).clamp(0, 1)


def compressed(image: Tensor, rng: np.random.Generator) -> Tensor:
    soft = noisy(gaussian_blur(image[None], float(rng.uniform(0.4, 0.8)))[0], rng, 0.02).clamp(0, 1)
    file = io.BytesIO()
    Image.fromarray((soft * 255).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=60)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255


def found_exactly(scene: Scene, image: Tensor) -> bool:
    """Every shape with its colour at its place, and nothing else."""
    seen = detect_shapes(image)
    return len(seen) == len(scene.shapes) and all(
        any((s.shape, s.color) == (d.shape, d.color) and np.hypot(s.x - d.x, s.y - d.y) < 2.5 for d in seen)
        for s in scene.shapes
    )


@pytest.mark.parametrize(
    ("wear", "needed", "n"),
    [(clean, 0.99, 300), (blurred, 0.95, 150), (grainy, 0.95, 150), (compressed, 0.95, 150)],
)
def test_whole_scenes_are_read_off(wear: Wear, needed: float, n: int):
    rng = np.random.default_rng(11)
    scenes = [composition(rng) for _ in range(n)]
    images = render_batch(scenes)
    right = [found_exactly(s, wear(x, rng)) for s, x in zip(scenes, images, strict=True)]
    assert np.mean(right) >= needed


def test_place_and_size_are_measured_to_half_a_pixel():
    rng = np.random.default_rng(12)
    for _ in range(40):
        scene = replace(plain_ground(rng), shapes=place_shapes(rng, [(random_shape(rng), random_color(rng))]))
        (d,), (s,) = detect_shapes(render_batch([scene])[0]), scene.shapes
        assert (d.x, d.y, d.r) == pytest.approx((s.x, s.y, s.r), abs=0.5)


def test_an_empty_ground_holds_nothing():
    rng = np.random.default_rng(13)
    images = render_batch([plain_ground(rng) for _ in range(20)])
    assert all(detect_shapes(x) == [] for x in (images + 0.03 * torch.randn(images.shape)).clamp(0, 1))


def test_a_blob_between_shapes_is_not_called_a_shape():
    image = torch.full((3, 64, 64), 0.95)
    image[:, 10:20, 10:54] = torch.tensor([0.87, 0.15, 0.16])[:, None, None]  # a long bar
    image[:, 40:60, 8:14] = 0.1
    image[:, 54:60, 8:40] = 0.1  # an L
    assert detect_shapes(image) == []


def test_every_palette_colour_is_nearest_to_itself_when_paled():
    for name, rgb in COLORS.items():
        paled = 0.9 * np.array(rgb) / 255 + 0.1 * 0.95
        assert nearest_color(paled) == name


def test_lab_of_white_black_and_red_are_the_tabulated_values():
    assert lab(np.array([1.0, 1, 1])) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(np.zeros(3)) == pytest.approx([0, 0, 0], abs=1e-9)
    assert lab(np.array([1.0, 0, 0])) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
