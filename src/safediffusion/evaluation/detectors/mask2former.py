"""GenEval's detector without mmdet: Mask2Former (Cheng et al., 2022) through transformers, CLIP for colours.

With the Hub's weights the number is called GenEval-HF: they are other weights than the reference's.
The library's own post-processing is not used; it resizes masks to 384 and applies other thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.evaluation.detectors.clip import COLORS, LARGE, color_of, load_clip
from safediffusion.evaluation.detectors.detector import Fragment, Row
from safediffusion.evaluation.detectors.opencv import resize_image
from safediffusion.evaluation.external_files import External, cached
from safediffusion.evaluation.geneval_rules import seen
from safediffusion.steering.encoders import ClipEncoder

WEIGHTS = "facebook/mask2former-swin-small-coco-instance"
REFERENCE = External(
    "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth",
    get="curl -f --create-dirs "
    "-Lo {home}/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth "
    "https://download.openmmlab.com/mmdetection/v2.0/mask2former/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco/"
    "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth",
    licence="Apache-2.0",
    sha256="743b7d99",
)
SHORTEST, LONGEST, MULTIPLE = 800, 1333, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOP = 100
STORED = 0.05
GREY = 0x99 / 255

# COCO's 80 classes in the order of the networks, as GenEval's prompts call them.
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote",
    "computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


def prepare(image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The network's input and its size before padding; mmdet resizes with OpenCV, so does this.

    Args:
        image: (3, h, w) in [0, 1].

    Returns:
        (1, 3, H, W) normalised, padded right and below to a multiple of 32; (h', w') of the image in it.
    """
    height, width = image.shape[1:]
    scale = min(SHORTEST / min(height, width), LONGEST / max(height, width))
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    resized = resize_image(image, size).to(image.device)[None]
    x = (resized - image.new_tensor(MEAN).view(1, 3, 1, 1)) / image.new_tensor(STD).view(1, 3, 1, 1)
    return F.pad(x, (0, -size[1] % MULTIPLE, 0, -size[0] % MULTIPLE)), size


def full_masks(
    masks: Tensor, padded: tuple[int, int], inside: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Mask logits (q, h, w) of the network at the image's own size, without the padding."""
    x = F.interpolate(masks[None], padded, mode="bilinear", align_corners=False)
    x = x[..., : inside[0], : inside[1]]
    return F.interpolate(x, size, mode="bilinear", align_corners=False)[0]


def instances(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mask2Former's instances: the best (query, class) pairs, scored by class and mask.

    Args:
        logits: class logits, (q, classes + 1), "nothing" last.
        masks: mask logits at the image's size, (q, h, w).

    Returns:
        scores (k,), most certain first, labels (k,), boxes (k, 4) as x0, y0, x1, y1, masks (k, h, w).
    """
    p = logits.softmax(-1)[:, :-1]
    best, pairs = p.flatten().topk(min(TOP, p.numel()))
    queries, labels = pairs // p.shape[1], pairs % p.shape[1]
    inside = masks > 0
    quality = (masks.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
    scores = best * quality[queries]
    order = scores.argsort(descending=True)
    queries = queries[order]
    boxes = torch.stack([_box(mask) for mask in inside])
    return scores[order], labels[order], boxes[queries], inside[queries]


def _box(mask: Tensor) -> Tensor:
    ys, xs = torch.nonzero(mask, as_tuple=True)
    if len(xs) == 0:
        return torch.zeros(4)
    return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float().cpu()


def cut_out(image: Tensor, mask: Tensor, box: Tensor) -> Tensor:
    """The box's part of an image (3, h, w) with everything outside the mask in grey #999."""
    x0, y0, x1, y1 = (int(v) for v in box)
    return torch.where(mask, image, torch.full_like(image, GREY))[:, y0:y1, x0:x1]


class GenEval:
    """{"objects": detections of score >= 0.05}, with a colour if the prompt has one.

    Args:
        network: a Mask2FormerForUniversalSegmentation over CLASSES.
        encoder: the CLIP that names colours.
        name: GenEval-HF with the Hub's weights, GenEval with the reference's.
    """

    def __init__(self, network: Any, encoder: ClipEncoder, name: str = "GenEval-HF") -> None:
        self.network, self.encoder, self.name = network.float().eval(), encoder, name

    @torch.no_grad()
    def __call__(self, images: Sequence[Tensor], rows: Sequence[Row]) -> list[Fragment]:
        """One fragment per image; rows are GenEval's prompts."""
        return [{"objects": self.objects(image, row)} for image, row in zip(images, rows, strict=True)]

    def objects(self, image: Tensor, row: Row) -> list[dict[str, Any]]:
        """The objects in one image (3, h, w)."""
        image = image.to(self.network.device).float()
        pixels, inside = prepare(image)
        out = self.network(pixel_values=pixels)
        height, width = (int(v) for v in image.shape[1:])
        padded = (int(pixels.shape[2]), int(pixels.shape[3]))
        masks = full_masks(out.masks_queries_logits[0], padded, inside, (height, width))
        scores, labels, boxes, masks = instances(out.class_queries_logits[0], masks)
        objects = [
            {"label": CLASSES[label], "score": score, "box": box, "mask": mask}
            for label, score, box, mask in zip(labels.tolist(), scores.tolist(), boxes, masks, strict=True)
            if score >= STORED
        ]
        for wanted in row["include"]:
            if "color" in wanted:
                self.name_colors(image, seen(row | {"objects": objects}, wanted["class"])[: wanted["count"]])
        return [{k: v for k, v in o.items() if k != "mask"} | {"box": o["box"].tolist()} for o in objects]

    def name_colors(self, image: Tensor, objects: Sequence[dict[str, Any]]) -> None:
        """Give each object its colour."""
        if objects:
            crops = [cut_out(image, o["mask"], o["box"]) for o in objects]
            colors = color_of(self.encoder, crops, objects[0]["label"])
            for found, color in zip(objects, colors, strict=True):
                found["color"] = color

    def describe(self) -> dict[str, Any]:
        """Name, networks and rule."""
        config = self.network.config
        return {
            "name": self.name,
            "weights": config.name_or_path,
            "encoder": self.encoder.name,
            "colors": list(COLORS),
            "rule": f"class probability x mask score, stored from {STORED}",
            "input": "OpenCV's 8-bit bilinear resize",
        }


def load_reference_geneval(device: str | torch.device) -> GenEval:
    """The detector with GenEval's own weights, an mmdet checkpoint."""
    from safediffusion.evaluation.detectors.mmdet import load_mmdet

    network: Any = load_mmdet(REFERENCE.path())
    network.config.name_or_path = REFERENCE.file
    return GenEval(network.to(device), load_clip(LARGE, device), "GenEval")


def load_geneval(device: str | torch.device) -> GenEval:
    """The detector with the Hub's weights."""
    from transformers import Mask2FormerForUniversalSegmentation

    network: Any = Mask2FormerForUniversalSegmentation.from_pretrained(cached(WEIGHTS))
    network.config.name_or_path = WEIGHTS
    return GenEval(network.to(device), load_clip(LARGE, device))
