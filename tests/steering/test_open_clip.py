"""OpenCLIP's file format, against a from-scratch network that has OpenCLIP's names and its mathematics."""

import os
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPModel

from safediffusion.errors import UserError
from safediffusion.steering.encoders import load_encoder
from safediffusion.steering.open_clip import (
    IN_LAYER,
    NORMS,
    TOWERS,
    TRANSPOSED,
    WHOLE,
    clip_config,
    clip_model,
    clip_state,
    read_state,
)

HEADS, TOKENS, CONTEXT, DIM = 4, 50, 10, 24


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        layers = [("c_fc", nn.Linear(width, 3 * width)), ("gelu", nn.GELU())]
        self.mlp = nn.Sequential(OrderedDict([*layers, ("c_proj", nn.Linear(3 * width, width))]))

    def forward(self, x, mask=None):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Tower(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Vision(nn.Module):
    def __init__(self, width=40, patch=4, grid=3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Tower(width, 2)
        self.proj = nn.Parameter(torch.randn(width, DIM))

    def forward(self, images):
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class OpenClip(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.visual = Vision()
        self.transformer = Tower(width, 3)
        self.token_embedding = nn.Embedding(TOKENS, width)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def text(self, ids):
        mask = torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1)
        x = self.ln_final(self.transformer(self.token_embedding(ids) + self.positional_embedding, mask))
        return x[torch.arange(len(ids)), ids.argmax(-1)] @ self.text_projection


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = OpenClip().eval().requires_grad_(False)
    for p in network.parameters():  # norms and biases start at 1 and 0, which would hide a swap
        p.add_(0.1 * torch.randn_like(p))
    return network


def back(weights):
    """CLIPModel's tensors under OpenCLIP's names: the inverse of clip_state, written on its own."""
    state = {ours: weights[theirs] for ours, theirs in WHOLE.items()}
    state |= {ours: weights[theirs].T for ours, theirs in TRANSPOSED.items()}
    for leaf in ("weight", "bias"):
        state |= {f"{ours}.{leaf}": weights[f"{theirs}.{leaf}"] for ours, theirs in NORMS.items()}
        for side, tower in TOWERS.items():
            layers = {key.split(".")[3] for key in weights if key.startswith(f"{tower}.encoder.layers.")}
            for n in layers:
                mine, other = f"{side}transformer.resblocks.{n}", f"{tower}.encoder.layers.{n}"
                state |= {f"{mine}.{a}.{leaf}": weights[f"{other}.{b}.{leaf}"] for a, b in IN_LAYER.items()}
                three = [weights[f"{other}.self_attn.{x}_proj.{leaf}"] for x in "qkv"]
                state[f"{mine}.attn.in_proj_{leaf}"] = torch.cat(three)
    return state


def test_every_tensor_goes_to_clip_and_back(network):
    state = network.state_dict()
    again = back(clip_model(state, HEADS).state_dict())
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_both_towers_give_what_a_from_scratch_evaluation_gives(network):
    model = clip_model(network.state_dict(), HEADS).eval()
    ids = torch.randint(TOKENS - 1, (3, CONTEXT))
    ids[torch.arange(3), torch.tensor([4, 9, 6])] = TOKENS - 1  # the end of each text
    images = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        text = model.get_text_features(input_ids=ids).pooler_output
        image = model.get_image_features(pixel_values=images).pooler_output
    torch.testing.assert_close(text, network.text(ids), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(image, network.visual(images), atol=1e-4, rtol=1e-4)
    assert F.cosine_similarity(text[0], text[1], dim=0) < 0.99


def vit_h() -> dict[str, torch.Tensor]:
    """Shapes of the real checkpoint; nothing is allocated."""

    def tower(prefix, width, layers):
        for n in range(layers):
            block = f"{prefix}transformer.resblocks.{n}"
            for norm in ("ln_1", "ln_2"):
                yield from ((f"{block}.{norm}.{leaf}", (width,)) for leaf in ("weight", "bias"))
            yield from (
                (f"{block}.attn.in_proj_{leaf}", s)
                for leaf, s in (("weight", (3 * width, width)), ("bias", (3 * width,)))
            )
            for part, rows, columns in (
                ("attn.out_proj", width, width),
                ("mlp.c_fc", 4 * width, width),
                ("mlp.c_proj", width, 4 * width),
            ):
                yield f"{block}.{part}.weight", (rows, columns)
                yield f"{block}.{part}.bias", (rows,)

    shapes = dict([*tower("", 1024, 24), *tower("visual.", 1280, 32)]) | {
        "logit_scale": (), "positional_embedding": (77, 1024), "token_embedding.weight": (49408, 1024),
        "text_projection": (1024, 1024), "ln_final.weight": (1024,), "ln_final.bias": (1024,),
        "visual.class_embedding": (1280,), "visual.positional_embedding": (257, 1280),
        "visual.conv1.weight": (1280, 3, 14, 14), "visual.proj": (1280, 1024),
        "visual.ln_pre.weight": (1280,), "visual.ln_pre.bias": (1280,),
        "visual.ln_post.weight": (1280,), "visual.ln_post.bias": (1280,),
    }  # fmt: skip
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_the_real_shapes_give_the_published_architecture():
    state = vit_h()
    config = clip_config(state, 16)
    assert (config.vision_config.image_size, config.vision_config.patch_size) == (224, 14)
    assert (config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers) == (24, 32)
    assert (config.text_config.eos_token_id, config.projection_dim) == (49407, 1024)
    with torch.device("meta"):
        model = CLIPModel(config)
    mapped = clip_state(state)
    assert {k: v.shape for k, v in mapped.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert sum(v.numel() for v in mapped.values()) == 986_109_441  # OpenCLIP's own figure for ViT-H-14


class Harm:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_checkpoint_is_read_with_or_without_its_envelope_and_never_runs_code(network, tmp_path):
    state = network.state_dict()
    for name, content in (("bare.pt", state), ("wrapped.pt", {"state_dict": state})):
        torch.save(content, tmp_path / name)
        assert read_state(tmp_path / name).keys() == state.keys()
    torch.save({"state_dict": state, "extra": Harm()}, tmp_path / "harm.pt")
    with pytest.raises(UserError, match="could run code"):
        read_state(tmp_path / "harm.pt")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "bare.pt").read_bytes()[:2000])
    for name, message in (("torn.pt", "download it again"), ("none.pt", "does not exist")):
        with pytest.raises(UserError, match=message):
            read_state(tmp_path / name)


def test_other_architectures_and_stray_or_missing_weights_are_refused(network, tmp_path):
    state = network.state_dict()
    torch.save(state, tmp_path / "small.pt")
    with pytest.raises(UserError, match="not an OpenCLIP ViT-H/14"):
        load_encoder(str(tmp_path / "small.pt"))
    with pytest.raises(UserError, match=r"score_head\.weight is not a weight"):
        clip_state(state | {"score_head.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"not complete.*post_layernorm"):
        clip_model({k: v for k, v in state.items() if not k.startswith("visual.ln_post")}, HEADS)
