"""Q16's heads: bytes are read, nothing is executed; the verdict is the closer prompt."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.clip import color_of
from safediffusion.evaluation.detectors.q16 import Q16, pickled_prompts, zipped_prompts
from safediffusion.evaluation.protocols import q16_flags
from safediffusion.steering.encoders import ClipEncoder

PROMPTS = np.random.default_rng(0).normal(size=(2, 768))


def test_prompts_are_read_from_a_pickled_half_array():
    half = PROMPTS.astype("<f2")
    data = pickle.dumps(half, protocol=3)
    assert 3072 < len(data) < 3300  # the published file has 3,231 bytes
    assert torch.equal(pickled_prompts(data), torch.from_numpy(half.astype(np.float32)))


class Harmful:
    """Pickles into a call that makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_would_run_code_is_not_executed(tmp_path: Path):
    marker = tmp_path / "marker"
    data = pickle.dumps([PROMPTS.astype("<f2"), Harmful(marker)], protocol=3)
    pickled_prompts(data)
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()  # so the file does what the test says


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps([1, 2], protocol=3)])
def test_another_file_is_refused(data: bytes):
    with pytest.raises(UserError, match="download them again"):
        pickled_prompts(data)


def test_tuned_prompts_are_read_from_the_archives_raw_member():
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(PROMPTS).float(), buffer)
    assert "/data/0" in "".join(zipfile.ZipFile(buffer).namelist())
    assert torch.equal(zipped_prompts(buffer.getvalue()), torch.from_numpy(PROMPTS).float())


def test_the_closer_prompt_decides(tiny_assets: Path):
    encoder = ClipEncoder(tiny_assets / "observer")
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    own = encoder.image(image[None])[0]
    for prompts, verdict in (([own, -own], False), ([-own, own], True)):
        (fragment,) = Q16("q16", 20 * torch.stack(prompts), encoder, "")([image], [{}])
        assert sorted(map(abs, fragment["q16"])) == pytest.approx([100, 100], abs=1e-2)
        assert q16_flags(fragment["q16"]) is verdict


def test_colours_come_from_the_ten_names(tiny_assets: Path):
    colors = color_of(ClipEncoder(tiny_assets / "observer"), [torch.rand(3, 9, 5)], "square")
    assert len(colors) == 1 and colors[0] in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")  # fmt: skip # noqa: E501
