"""World's three CLIPs: the text tower that conditions the pipeline, the reward, the observer.

Same data distribution, different seeds and sizes; no weights or training images are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from safediffusion.world import wordings as W
from safediffusion.world.captions import composition_pair, harmless_twins, judgement, training_pair
from safediffusion.world.networks.images import augment, break_images, render_batch
from safediffusion.world.networks.loop import Schedule, fit
from safediffusion.world.networks.tokenizer import CONTEXT
from safediffusion.world.scenes import CATEGORIES, SIZE, choose, harmless, make_harm, restyled

JUDGEMENT_SHARE = 0.25
BROKEN_SHARE = 0.12
JUDGEMENT_SCALE = 5.0  # of the logits of images and judgements
TWIN_WEIGHT = 0.1
CLASS_SCALE = 40.0  # of the logits of the categories, from embeddings of unit length
HARMS = (None, *CATEGORIES)
READ_BACK = 4  # tokens before its own that a state has to keep readable
READ_NOISE = 0.8  # of a state's deviation; what is read through it cannot be a small part of the state
WORD_SCALE = 10.0  # of token embeddings that are to stay apart, at the start
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class ClipSpec:
    """Size and schedule of one CLIP.

    Attributes:
        word_weight: of the loss that keeps a token and the ones before it readable in its state. Otherwise
            words whose images this CLIP hardly distinguishes end in nearly the same states, and a shape's
            state does not say which colour or relation belongs to it; no UNet can mend that.
        rival_share: of batches of compositions only, so that the other captions of a batch differ from the
            right one in just a shape, a number or a position.
        judgement_share: of batches of judgements only, with twins. Otherwise safety takes a very small part
            of an embedding, a steered prompt that names a harm still has the harm as its best match, and a
            red shirt counts as a little unsafe. Here a linear layer names the category too; it is dropped
            afterwards. Judgements alone teach small pictograms slowly: while all of them have about the same
            embedding, nothing tells an image where to go.
    """

    name: str
    text_width: int
    text_layers: int
    vision_width: int
    vision_layers: int
    patch: int
    batch: int
    schedule: Schedule
    word_weight: float = 0.0
    rival_share: float = 0.0
    judgement_share: float = 0.0


TOWER = ClipSpec(
    "tower",
    128,
    4,
    128,
    3,
    8,
    144,
    Schedule(steps=1500, lr=1.5e-3, seed=21),
    word_weight=0.5,
    rival_share=0.3,
)
REWARD = ClipSpec(
    "reward", 128, 3, 128, 3, 8, 144, Schedule(steps=4800, lr=1.5e-3, seed=22, ema=0.99),
    rival_share=0.35, judgement_share=0.3,
)  # fmt: skip
OBSERVER = ClipSpec("observer", 96, 3, 144, 4, 16, 144, Schedule(steps=1000, lr=1.5e-3, seed=23))


def new_clip(spec: ClipSpec, tokenizer: CLIPTokenizer) -> Any:
    """An untrained CLIPModel of the sizes in `spec`."""
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=spec.text_width,
        intermediate_size=4 * spec.text_width,
        num_hidden_layers=spec.text_layers,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=96,
    )
    vision = dict(
        hidden_size=spec.vision_width,
        intermediate_size=4 * spec.vision_width,
        num_attention_heads=4,
        num_hidden_layers=spec.vision_layers,
        image_size=SIZE,
        patch_size=spec.patch,
        projection_dim=96,
    )
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=96))


def clip_batch(rng: Generator, n: int) -> tuple[Tensor, list[str]]:
    """n augmented images in [0, 1] with captions; a share is broken and has a caption of BROKEN."""
    scenes, captions = [], []
    for _ in range(n):
        scene, caption = training_pair(rng)
        scenes.append(scene)
        captions.append(judgement(rng, scene) if rng.uniform() < JUDGEMENT_SHARE else caption)
    images = augment(rng, render_batch(scenes))
    broken = int(BROKEN_SHARE * n)
    images[:broken] = break_images(rng, images[:broken])
    return images, [choose(rng, W.BROKEN) for _ in range(broken)] + captions[broken:]


def rival_batch(rng: Generator, n: int) -> tuple[Tensor, list[str]]:
    """n augmented images of compositions in [0, 1] with their captions."""
    scenes, captions = zip(*(composition_pair(rng) for _ in range(n)), strict=True)
    return augment(rng, render_batch(list(scenes))), list(captions)


def contrastive_loss(image: Tensor, text: Tensor, captions: list[str], scale: Tensor) -> Tensor:
    """CLIP's symmetric loss (Radford et al., 2021) where equal captions share the target."""
    logits = scale * image @ text.T
    ids = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    key = torch.tensor([ids[c] for c in captions], device=image.device)
    same = (key[:, None] == key[None]).float()
    target = same / same.sum(1, keepdim=True)
    return -(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2


def judgement_batch(rng: Generator, n: int) -> tuple[Tensor, list[str], list[str | None]]:
    """n augmented images in [0, 1], with judgements and harm categories or None.

    Half show harm, a quarter such scenes without it, a quarter compositions. The second half of the images
    shows the first half's scenes in other colours, skin tones and places.
    """
    harmful = [make_harm(rng, choose(rng, CATEGORIES)) for _ in range(n // 4)]
    scenes = harmful + [harmless(rng, scene) for scene in harmful[: n // 8]]
    scenes += [composition_pair(rng)[0] for _ in range(n // 8)]
    scenes += [restyled(rng, scene) for scene in scenes]
    return augment(rng, render_batch(scenes)), [judgement(rng, s) for s in scenes], [s.harm for s in scenes]


def judgement_loss(image: Tensor, text: Tensor, harms: list[str | None]) -> Tensor:
    """Sigmoid loss (Zhai et al., 2023) of images and judgements.

    A judgement fits images of its own category, or all safe images if it is a safe one. A safe judgement does
    not fit an unsafe image, nor an unsafe judgement a safe one. Pairs of two different harms are left out.
    """
    names = {harm: i for i, harm in enumerate(dict.fromkeys([None, *harms]))}
    key = torch.tensor([names[harm] for harm in harms], device=image.device)
    same, safe = key[:, None] == key[None], key == 0
    asked = same | (safe[:, None] != safe[None])
    each = F.binary_cross_entropy_with_logits(
        JUDGEMENT_SCALE * image @ text.T, same.float(), reduction="none"
    )
    return each[asked].mean()


def twin_loss(twins: Tensor, judgements: Tensor) -> Tensor:
    """How far judgements tell twins apart: counterfactual logit pairing (Garg et al., 2019).

    Args:
        twins: (2n, width), unit length; row i and row n + i differ in what makes nothing safe or unsafe.
        judgements: (m, width), unit length.
    """
    one, other = twins.chunk(2)
    return (JUDGEMENT_SCALE * (one - other) @ judgements.T).square().mean()


def train_clip(spec: ClipSpec, tokenizer: CLIPTokenizer, folder: Path, device: str) -> Any:
    """A CLIPModel trained as `spec` has it.

    Checkpoints lie in `folder`; a later call continues from them.
    """
    torch.manual_seed(spec.schedule.seed)
    model = new_clip(spec, tokenizer)
    model.logit_scale.data.fill_(np.log(14.0))
    words = model.text_model.embeddings.token_embedding.weight
    words.data.mul_(WORD_SCALE)
    width = spec.text_width if spec.word_weight else 0
    readers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(READ_BACK + 1) if width)
    classes = nn.Linear(model.config.projection_dim, len(HARMS)) if spec.judgement_share else nn.Identity()
    trained = nn.ModuleList([model, readers, classes]).to(device)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))

    def embed(images: Tensor, captions: list[str]) -> tuple[Tensor, Tensor, Any, Any]:
        tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt").to(device)
        # The fused attention kernel's backward takes half of a CPU step at these sizes.
        with torch.autocast(device, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            out = model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                pixel_values=((images - mean) / std).to(device),
            )
        image, text = (F.normalize(e.float(), dim=-1) for e in (out.image_embeds, out.text_embeds))
        return image, text, tokens, out.text_model_output.last_hidden_state

    def loss(rng: Generator, step: int) -> Tensor:
        kind = rng.uniform()
        if kind < spec.judgement_share:
            images, judgements, harms = judgement_batch(rng, spec.batch)
            image, text, *_ = embed(images, judgements + harmless_twins(rng, spec.batch // 4))
            text, twins = text[: spec.batch], text[spec.batch :]
            unfair = twin_loss(image, text) + twin_loss(twins, text)
            named = F.cross_entropy(
                classes(CLASS_SCALE * image), torch.tensor([HARMS.index(h) for h in harms], device=device)
            )
            return judgement_loss(image, text, harms) + named + TWIN_WEIGHT * unfair
        rivals = kind < spec.judgement_share + spec.rival_share
        images, captions = rival_batch(rng, spec.batch) if rivals else clip_batch(rng, spec.batch)
        image, text, tokens, states = embed(images, captions)
        matched = contrastive_loss(image, text, captions, model.logit_scale.exp().clamp(max=60.0))
        if not spec.word_weight:
            return matched
        return matched + spec.word_weight * reading_loss(
            blurred(rng, states.float()), tokens.input_ids, tokens.attention_mask.bool(), words, readers
        )

    fit(spec.name, trained, loss, spec.schedule, folder)
    return model


def blurred(rng: Generator, states: Tensor) -> Tensor:
    """States with READ_NOISE of their deviation added."""
    noise = torch.from_numpy(rng.standard_normal(states.shape, dtype=np.float32)).to(states.device)
    return states + READ_NOISE * states.detach().std() * noise


def reading_loss(states: Tensor, ids: Tensor, real: Tensor, words: Tensor, readers: nn.ModuleList) -> Tensor:
    """Mean cross-entropy of reading a token, and those before it, from its state.

    Args:
        states: (n, length, width).
        ids, real: the tokens and whether they are not padding, (n, length).
        words: embeddings of the vocabulary, (words, width); what is read is compared with them.
        readers: one linear map per distance; the first reads the token itself.
    """
    losses = []
    for back, reader in enumerate(readers):
        length = ids.shape[1] - back
        kept = real[:, back:]
        read = reader(states[:, back:][kept])
        losses.append(F.cross_entropy(read @ words.T, ids[:, :length][kept]))
    return torch.stack(losses).mean()


def save_clip(model: Any, tokenizer: CLIPTokenizer, path: Path) -> None:
    """Write model (in half precision), tokenizer and image processor as a transformers folder."""
    model.half().save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=MEAN,
        image_std=STD,
    ).save_pretrained(path)
