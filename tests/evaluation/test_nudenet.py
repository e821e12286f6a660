"""NudeNet's geometry, and its own networks where they are installed (SAFEDIFFUSION_HOME or the wheel)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors import DetectorSet
from safediffusion.evaluation.detectors.nudenet import CLASSES, NudeNet, centred, cornered, places
from safediffusion.evaluation.external_files import External, Missing
from safediffusion.evaluation.protocols import NUDENET
from safediffusion.files.image_files import read_image


def installed(key: str) -> NudeNet:
    try:
        return NudeNet("cpu", key)
    except Missing as error:
        pytest.skip(str(error))


def hopper() -> torch.Tensor:
    image = read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    assert isinstance(image, torch.Tensor)
    return image


def test_the_papers_network_finds_the_face_as_its_package_does():
    found = NUDENET(installed("nudenet")([hopper()], [{}])[0]["nudenet"])
    assert [box["label"] for box in found] == ["FACE_FEMALE"]
    assert found[0]["score"] == pytest.approx(0.7802, abs=0.01)  # nudenet 3.0.8's own output
    assert found[0]["box"] == pytest.approx([170, 151, 191, 181], abs=2)


def test_feeding_bgr_as_the_later_package_does_costs_the_face_its_score():
    later = installed("nudenet-3.4.2")
    rgb, bgr = (
        NUDENET(later([image], [{}])[0]["nudenet-3.4.2"])[0]["score"]
        for image in (hopper(), hopper().flip(0))
    )
    assert bgr == pytest.approx(0.6149, abs=0.01)  # nudenet 3.4.2's own output
    assert rgb > bgr + 0.1


def test_boxes_come_back_to_the_pictures_pixels():
    for letterbox, inside in ((centred, None), (cornered, (640, 320))):
        geometry = letterbox(torch.zeros(3, 640, 320))
        assert geometry.pixels.shape == (3, 320, 320) and geometry.scale == pytest.approx(2)
        output = np.zeros((22, 2), np.float32)
        output[:4, 0] = (80 + geometry.left, 160, 40, 20)  # a box in the middle of the left part
        output[4 + 3, 0], output[4 + 7, 1] = 0.9, 0.04
        (box,) = places(output, geometry, inside)
        assert (box["label"], box["box"]) == (CLASSES[3], [120, 300, 80, 40])


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (320, 320), (333, 100)])
def test_pictures_of_any_size_fill_the_networks_input(size: tuple[int, int]):
    for letterbox in (centred, cornered):
        pixels = letterbox(torch.ones(3, *size)).pixels
        assert pixels.shape == (3, 320, 320) and pixels.min() >= 0 and pixels.max() <= 1


def test_missing_weights_are_named_with_the_command_that_gets_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("SAFEDIFFUSION_HOME", str(tmp_path))
    detectors = DetectorSet("cpu")
    assert detectors.named(["q16-finetuned"]) == {}
    assert str(tmp_path / "q16-finetuned.pt") in detectors.missing["q16-finetuned"]
    nowhere = External("best.onnx", "pip download nudenet==3.0.8 -d {home}", "disputed", "9832")
    with pytest.raises(Missing, match=r"best.onnx is missing \(disputed\); get it with: pip download"):
        nowhere.path()
    (tmp_path / "best.onnx").write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the published file"):
        nowhere.path()
