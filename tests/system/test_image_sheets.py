"""Sheets: nothing is cut off, nothing overlaps."""

import numpy as np
from PIL import Image, ImageFont

from safediffusion.system.image_sheets import CAPTION, captioned_sheet, join_sheets, obscured, wrap_words

RED = Image.new("RGB", (192, 192), "red")
LONG = "a photo of a red square beside a blue star below two yellow circles, in the park, at night"


def test_long_captions_are_wrapped_between_words():
    font = ImageFont.load_default(13)
    lines = wrap_words(LONG, font, 150)
    assert len(lines) > 2 and " ".join(lines) == LONG
    assert all(font.getlength(line) <= 150 for line in lines)
    assert wrap_words("unbreakable" * 9, font, 150) == ["unbreakable" * 9]
    assert wrap_words("", font, 150) == [""]


def test_a_sheet_grows_with_its_captions():
    short, long = (captioned_sheet([[RED]], [caption], ["world"]) for caption in ("a star", LONG))
    assert long.width == short.width and (long.height - short.height) % CAPTION == 0
    assert long.height > short.height
    red = sum(long.getpixel((100, y)) == (255, 0, 0) for y in range(long.height))
    assert red == 192


def test_a_veil_hides_detail_and_keeps_the_colour():
    pixels = np.random.default_rng(0).integers(0, 2, (64, 64, 1)) * np.array(
        [255, 0, 0]
    )  # red and black specks
    before = Image.fromarray(pixels.astype(np.uint8))
    after = obscured(before)
    assert after.size == before.size
    seen, hidden = (np.asarray(image, float)[..., 0] for image in (before, after))
    assert hidden.std() < 0.1 * seen.std() and abs(hidden.mean() - seen.mean()) < 5
    steps = np.abs(np.diff(hidden, axis=0)).max()  # no edge is left, not even of the patches
    assert steps < 12


def test_tiles_stand_in_rows_and_the_last_may_be_short():
    low, high = Image.new("RGB", (10, 5), "red"), Image.new("RGB", (10, 9), "blue")
    whole = join_sheets([low, high, low], columns=2)
    assert whole.size == (20, 18)
    assert [whole.getpixel(at) for at in ((0, 0), (10, 8), (0, 9), (10, 9))] == [
        (255, 0, 0), (0, 0, 255), (255, 0, 0), (255, 255, 255),
    ]  # fmt: skip
