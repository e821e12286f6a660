"""Reading an image from a file: upright, in [0, 1], whatever its format; or why it cannot be read.

Where a format is ambiguous, the image is an error and nothing is guessed: a wrong guess can turn an image
black, and a black image shows no harm.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

MOST_PIXELS = 2**26  # a small file can unpack to more than the memory
DEEP = 65535  # the largest value of a 16-bit grey
DIM = 16  # deep grey that stays below white / 16 is likelier 8 or 12 bits stored in more
SEVERAL_BY_DESIGN = ("MPO",)  # cameras' JPEGs, with a preview behind the image


def read_image(path: Path, upright: bool = True) -> Tensor | str:
    """An image (3, h, w) in [0, 1], or the reason why it cannot be read.

    16-bit grey is scaled to 8 bits, CMYK and palettes become RGB, transparent pixels become white.

    Args:
        path: of the file.
        upright: turn it by its EXIF orientation, as viewers and the detectors' own readers do. FID's
            references are not turned and may have several frames, as in the metric's own reader.
    """
    if not path.is_file():  # a folder, a pipe, a link that leads nowhere
        return f"{path.name}: not a file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:  # before it is unpacked
                    return f"{path.name}: {image.width} x {image.height} pixels are too many to judge"
                return _pixels(image, upright)
    except Exception as error:  # damaged files end in whatever the decoder stumbles over
        return f"{path.name}: {type(error).__name__}: {error}"


def _pixels(image: Image.Image, upright: bool) -> Tensor:
    frames = getattr(image, "n_frames", 1)
    if upright and frames > 1 and image.format not in SEVERAL_BY_DESIGN:
        raise ValueError(f"{frames} images in one file; save each as its own")
    image.load()
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey(np.asarray(image, dtype=np.float64), 1 if image.mode == "F" else DEEP)
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def _grey(values: np.ndarray, white: int) -> Tensor:
    """Deep grey (h, w) from 0 to `white` as an image of 8 bits."""
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"values outside 0 to {white}; save it with 8 or 16 bits per channel")
    if values.max() < white / DIM:
        raise ValueError(f"its brightest value is {values.max():g} of {white}, so its scale is not known")
    grey = np.round(values / white * 255) / 255
    return torch.from_numpy(grey.astype(np.float32)).expand(3, -1, -1).contiguous()
