"""CLIP's size and pixels against torchvision's Resize (0.15, transforms/functional.py) and transformers.

OpenAI's CLIP and OpenCLIP take torchvision's; the crop is the middle one, and where the rest is odd
transformers and ours begin at the smaller half.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil
from transformers.image_transforms import get_resize_output_image_size

from safediffusion.steering.preprocess import preprocess, shortest_side

from .compared import COMPARED


def torchvision_size(height: int, width: int, size: int) -> tuple[int, int]:
    """_compute_resized_output_size: the long side is size * long / short, cut to a whole number."""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    return (new_long, new_short) if width <= height else (new_short, new_long)


def test_the_size_is_torchvisions_and_transformers_for_every_picture():
    rng = np.random.default_rng(0)
    for i in range(COMPARED["clip-size"].cases):
        height, width = (int(v) for v in rng.integers(1, 2000, 2))
        size = (224, 336, 64, 384)[i % 4]
        ours = shortest_side(height, width, size)
        assert ours == torchvision_size(height, width, size), (height, width, size)
        nothing = np.broadcast_to(np.uint8(0), (3, height, width))
        theirs = get_resize_output_image_size(nothing, size, False, input_data_format="channels_first")
        assert ours == theirs, (height, width, size)


@pytest.mark.parametrize(("height", "width", "long"), [(320, 720, 504), (720, 320, 504), (480, 640, 298)])
def test_the_known_sizes(height: int, width: int, long: int):
    assert max(shortest_side(height, width, 224)) == long


def test_pixels_are_pillows_to_its_own_rounding():
    """Pillow rounds to 8 bits after each of its two passes, ours not at all: two of 255 at most."""
    rng = np.random.default_rng(1)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    for _ in range(COMPARED["clip-pixels"].cases):
        h, w = (int(v) for v in rng.integers(20, 200, 2))
        image = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((w, h)))
        theirs = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
        mean, std = processor.image_mean, processor.image_std
        ours = preprocess(torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255, 64, mean, std)
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) * min(std) * 255 <= 2.0, (h, w)
