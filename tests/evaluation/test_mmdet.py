"""mmdet's Mask2Former in transformers: mmdet's own outputs of random weights, recorded, are met."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.mmdet import from_mmdet, load_mmdet

RECORDED = Path(__file__).parent / "mmdet_outputs.safetensors"


@pytest.fixture
def recorded() -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Weights by mmdet's names, an input, and what mmdet 2.28 made of them: class and mask logits."""
    with safe_open(RECORDED, "pt") as file:
        shapes: dict[str, list[int]] = json.loads(file.metadata()["shapes"])
        classes, masks = file.get_tensor("classes"), file.get_tensor("masks")
    rng = np.random.default_rng(0)
    state = {}
    for key, shape in shapes.items():
        scale = 0.3 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5
        one = len(shape) == 1 and key.endswith("weight")  # a norm's
        state[key] = torch.from_numpy(rng.normal(size=shape) * scale + one).float()
    return state, torch.from_numpy(rng.normal(size=(1, 3, 64, 96))).float(), classes, masks


@torch.no_grad()
def test_the_outputs_are_those_of_mmdet(recorded):
    state, pixels, classes, masks = recorded
    out = from_mmdet(state, "it").eval()(pixel_values=pixels)
    torch.testing.assert_close(
        out.class_queries_logits, classes, rtol=1e-4, atol=1e-5 * float(classes.abs().max())
    )
    torch.testing.assert_close(
        out.masks_queries_logits, masks, rtol=1e-4, atol=1e-5 * float(masks.abs().max())
    )


@torch.no_grad()
@pytest.mark.parametrize(
    "key",
    [
        "backbone.stages.0.downsample.reduction.weight",
        "backbone.stages.2.blocks.1.attn.w_msa.relative_position_bias_table",
        "panoptic_head.transformer_decoder.layers.0.attentions.1.attn.in_proj_weight",
    ],
)
def test_a_tensor_put_in_otherwise_would_show(recorded, key: str):
    state, pixels, classes, _ = recorded
    moved = state | {key: state[key].flip(-1 if key.endswith("weight") else 0)}
    out = from_mmdet(moved, "it").eval()(pixel_values=pixels)
    assert (out.class_queries_logits - classes).abs().max() > 1e-3 * classes.abs().max()


def test_other_networks_are_refused(recorded, tmp_path: Path):
    state = recorded[0]
    with pytest.raises(UserError, match="level_embed"):
        from_mmdet({k: v for k, v in state.items() if k != "panoptic_head.level_embed.weight"}, "it")
    with pytest.raises(UserError, match="not an mmdet 2"):
        from_mmdet({"weight": torch.zeros(3)}, "it")
    path = tmp_path / "checkpoint.pth"
    torch.save({"meta": {"epoch": 50, "CLASSES": ("person",)}, "state_dict": state}, path)
    assert load_mmdet(path).config.num_labels == 80
    torch.save({"meta": Path("of code"), "state_dict": state}, path)
    with pytest.raises(UserError, match="more than tensors"):
        load_mmdet(path)
