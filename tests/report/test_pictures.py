"""Pictures inside the page: exact where they are small, and never so large that a page passes 5 MB."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safediffusion.report import changed_verdicts, held_out, sample_strips
from safediffusion.report.pictures import LARGEST, data_uri, kept_tiles
from safediffusion.training.sample_sheets import SHEET


def noise(side: int) -> Image.Image:
    """What compresses worst."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_worlds_pictures_are_kept_exactly_and_larger_ones_are_made_small() -> None:
    assert decoded(data_uri(noise(64))).convert("RGB").tobytes() == noise(64).tobytes()
    large = decoded(data_uri(noise(1024)))
    assert large.format == "JPEG" and large.size == (LARGEST, LARGEST)


def test_a_page_with_every_picture_that_fits_on_it_stays_under_5_mb(report_page: Path) -> None:
    samples = SHEET * sample_strips.MOST
    pairs = held_out.MOST + changed_verdicts.MOST_SAFE + changed_verdicts.MOST_UNSAFE
    pictures = (samples + 2 * pairs) * len(data_uri(noise(1024)))
    assert pictures + report_page.stat().st_size < 5_000_000


def test_a_damaged_picture_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for when in ("before", "after"):
        (tmp_path / when / "previews").mkdir(parents=True)
        noise(64).save(tmp_path / when / "previews/00003.png")
    file = tmp_path / "after/previews/00003.png"
    file.write_bytes(file.read_bytes()[:100])
    folders = {when: tmp_path / when for when in ("before", "after")}
    (tile,) = kept_tiles(3, folders, False, {"before": "safe"})
    assert tile.caption == "before: safe" and "00003.png is damaged" in caplog.text
    assert kept_tiles(4, folders, False) == ()
