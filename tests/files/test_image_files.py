"""Images in odd formats are read as people see them, or refused; none turns black without a word."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from safediffusion.files.image_files import read_image

PIXELS = np.zeros((6, 8, 3), np.uint8)
PIXELS[:3] = (200, 10, 30)
PIXELS[4:, 5:] = (10, 250, 240)
GREY = np.asarray(Image.fromarray(PIXELS).convert("L"))


def read(path: Path, **how: bool) -> torch.Tensor:
    found = read_image(path, **how)
    assert isinstance(found, torch.Tensor), found
    return found


def pixels(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
def test_a_picture_stands_as_its_orientation_says_and_a_reference_as_it_is_stored(
    tmp_path: Path, orientation: int, ending: str
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / f"a.{ending}", exif=exif, quality=100)
    across = PIXELS.transpose(1, 0, 2)
    stands = (
        PIXELS,
        PIXELS[:, ::-1],
        PIXELS[::-1, ::-1],
        PIXELS[::-1],
        across,
        across[:, ::-1],
        across[::-1, ::-1],
        across[::-1],
    )[orientation - 1]
    seen = pixels(read(tmp_path / f"a.{ending}"))
    assert seen.shape == stands.shape
    assert np.abs(seen.astype(int) - stands).mean() < (1 if ending in ("png", "tiff") else 40)
    stored = (3, 6, 8) if ending != "tiff" else (3, *stands.shape[:2])  # PIL turns a TIFF by itself
    assert read(tmp_path / f"a.{ending}", upright=False).shape == stored


# YCbCr is the mode of JPEGs; a TIFF of it Pillow 12 writes and cannot read
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_every_mode_keeps_its_bright_and_dark_parts(tmp_path: Path, mode: str):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.tif")
    image = read(tmp_path / "a.tif")
    assert image.shape == (3, 6, 8) and image.max() > 0.25 and image.min() < 0.05
    expected = np.asarray(Image.fromarray(PIXELS).convert(mode).convert("RGB"))
    assert np.abs(pixels(image).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["I;16", "I;16B", "I", "F"])
def test_deep_grey_is_scaled_by_its_own_white(tmp_path: Path, kind: str):
    values = GREY.astype(np.float64) / 255
    if kind == "F":
        image = Image.fromarray(values.astype(np.float32))
    elif kind == "I":
        image = Image.fromarray((values * 65535).round().astype(np.int32))
    else:
        image = Image.fromarray((values * 65535).round().astype(">u2" if kind == "I;16B" else "<u2"))
    image.save(tmp_path / "a.tif")
    assert np.abs(pixels(read(tmp_path / "a.tif"))[..., 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 255, 48, dtype=np.float32),
        np.linspace(-1, 1, 48, dtype=np.float32),
        np.full(48, np.nan, np.float32),
        np.linspace(0, 255, 48).astype(np.int32),
        np.linspace(0, 4000, 48).astype(np.uint16),
        np.linspace(0, 2**20, 48).astype(np.int32),
    ],
    ids=["float to 255", "float from -1", "nan", "8 bits in 32", "12 bits in 16", "20 bits"],
)
def test_grey_of_an_unknown_scale_is_refused(tmp_path: Path, values: np.ndarray):
    Image.fromarray(values.reshape(6, 8)).save(tmp_path / "a.tif")
    assert "ValueError" in str(read_image(tmp_path / "a.tif"))


def test_what_is_transparent_shows_white(tmp_path: Path):
    clear = Image.fromarray(PIXELS).convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "rgba.png")
    Image.fromarray(PIXELS).convert("P").save(tmp_path / "p.png", transparency=bytes(256))
    Image.merge("LA", (clear.convert("L"), clear.getchannel("A"))).save(tmp_path / "la.png")
    for name in ("rgba", "p", "la"):
        assert read(tmp_path / f"{name}.png").min() == 1, name


@pytest.mark.parametrize("ending", ["tif", "png", "webp"])
def test_a_file_of_several_pictures_is_refused_for_judging(tmp_path: Path, ending: str):
    first, second = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
    assert "2 images in one file" in str(read_image(tmp_path / f"a.{ending}"))
    assert read(tmp_path / f"a.{ending}", upright=False).shape == (3, 6, 8)


@pytest.mark.parametrize("side", [9_500, 14_000])  # PIL warns of the first and refuses the second
def test_a_small_file_with_a_huge_picture_is_refused(tmp_path: Path, side: int):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    assert "DecompressionBomb" in str(read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_cut_file_is_refused(tmp_path: Path, ending: str):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{ending}")
    whole = (tmp_path / f"a.{ending}").read_bytes()
    for share in (0.3, 0.6, 0.95):
        (tmp_path / f"a.{ending}").write_bytes(whole[: int(share * len(whole))])
        assert str(read_image(tmp_path / f"a.{ending}")).startswith(f"a.{ending}: "), share


def test_what_is_not_a_file_is_refused_and_not_waited_for(tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("folder", "nowhere", "loop", "pipe"):
        assert read_image(tmp_path / f"{name}.png") == f"{name}.png: not a file"
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("a.png")  # as the hub's own cache has them
    assert read(tmp_path / "link.png").shape == (3, 6, 8)
