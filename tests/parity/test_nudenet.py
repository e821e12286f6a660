"""NudeNet's frame, input and detections against nudenet 3.0.8, read from its wheel (nudenet/nudenet.py).

sha256 of the wheel begins e36e30ba. Its network is not needed: outputs are drawn at random, crowded and
with scores on every threshold. Coordinates are computed in double precision there, as numpy 1 does it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from safediffusion.evaluation.boxes import Box, suppress
from safediffusion.evaluation.detectors.nudenet import CLASSES, Letterbox, centred, frame, places
from safediffusion.evaluation.protocols import NUDENET

from .compared import COMPARED
from .releases import NUDENET_CUTS, detect, random_output


def release_frame(height: int, width: int) -> tuple[int, int, int, int, float]:
    """_read_image without the pixels: new height and width, left and top bar, resize factor."""
    aspect = width / height
    if height > width:
        new_height, new_width = 320, round(320 * aspect)
    else:
        new_height, new_width = round(320 / aspect), 320
    factor = math.sqrt((width**2 + height**2) / (new_width**2 + new_height**2))
    return new_height, new_width, int((320 - new_width) / 2), int((320 - new_height) / 2), factor


def release_input(image: np.ndarray) -> np.ndarray:
    """_read_image's pixels, by OpenCV."""
    height, width, left, top, _ = release_frame(*image.shape[:2])
    small = cv2.resize(image, (width, height))
    framed = cv2.copyMakeBorder(small, top, top, left, left, cv2.BORDER_CONSTANT, value=[0, 0, 0])
    return np.transpose(cv2.resize(framed, (320, 320)).astype("float32") / 255.0, (2, 0, 1))


def test_the_frame_is_the_packages_for_every_size():
    rng = np.random.default_rng(0)
    for _ in range(COMPARED["frame"].cases):
        height, width = (int(v) for v in rng.integers(1, 4000, 2))
        if max(height, width) < 600 * min(height, width):  # beyond, the package asks OpenCV for no pixels
            assert frame(height, width) == release_frame(height, width), (height, width)


def test_the_networks_input_is_the_packages_bit_by_bit():
    rng = np.random.default_rng(1)
    for i in range(COMPARED["input"].cases):
        height, width = (int(v) for v in rng.integers(2, 700, 2)) if i % 3 else (640 * (1 + i % 2), 640)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels = centred(torch.from_numpy(image).permute(2, 0, 1) / 255).pixels.numpy()
        assert np.array_equal(pixels, release_input(image)), (height, width)


def test_suppression_is_opencvs_at_every_edge():
    rng = np.random.default_rng(2)
    for i in range(COMPARED["suppression"].cases):
        score, overlap = ((0.25, 0.45), (0.5, 0.5))[i % 2]
        n = int(rng.integers(1, 8))
        boxes = [[int(v) for v in rng.integers(0, 12, 4)] for _ in range(n)]
        scores = [float(np.float32(s)) for s in rng.choice([0.2, 0.25, 0.3, 0.5, 0.6, 0.61, 0.7, 0.9], n)]
        stored: list[Box] = [
            {"label": str(k), "score": s, "box": b}
            for k, (b, s) in enumerate(zip(boxes, scores, strict=True))
        ]
        theirs = [str(k) for k in cv2.dnn.NMSBoxes(boxes, scores, score, overlap)]
        assert [b["label"] for b in suppress(stored, score, overlap)] == theirs, (boxes, scores)


def test_detections_are_the_packages_from_the_same_network_output():
    rng = np.random.default_rng(3)
    for i in range(COMPARED["detections"].cases):
        output, size = random_output(rng), ((320, 320), (512, 512), (640, 427), (300, 511))[i % 4]
        *_, left, top, factor = release_frame(*size)
        ours = NUDENET(places(output, Letterbox(torch.empty(0), factor, left, top)))
        theirs = detect(output, NUDENET_CUTS, left, top, factor)
        assert [(b["label"], b["score"], b["box"]) for b in ours] == [
            (CLASSES[k], score, box) for k, score, box in theirs
        ]
