"""Image-text encoders as unit vectors: CLIP, Safe-CLIP, SigLIP and HPSv2, all through transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    SiglipImageProcessorPil,
    SiglipModel,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from safediffusion.errors import UserError
from safediffusion.steering.open_clip import clip_model, read_state, require_vit_h
from safediffusion.steering.preprocess import Resample, preprocess, squash
from safediffusion.system.offload import Offloaded
from safediffusion.text.first_line import first_line
from safediffusion.world import asset

HINT = "set reward.encoder to world, hpsv2.1, a CLIP or SigLIP folder or hub id, or an OpenCLIP ViT-H/14 file"
HPS = {"hpsv2": "HPS_v2_compressed.pt", "hpsv2.1": "HPS_v2.1_compressed.pt"}
HPS_REPO = "xswu/HPSv2"
TEXTS = 256  # in a forward pass
HPS_TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
# Safe-CLIP was fine-tuned from these and is published as weights alone.
SAFE_CLIP = {
    "aimagelab/safeclip_vit-l_14": "openai/clip-vit-large-patch14",
    "aimagelab/safeclip_vit-l_14_336": "openai/clip-vit-large-patch14-336",
}
RESAMPLE: dict[int, Resample] = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


class Encoder(Protocol):
    """Text and images in one space."""

    name: str
    dim: int
    context: int  # tokens of a text that are read

    def awake(self) -> AbstractContextManager[None]:
        """Inside, a network that otherwise waits elsewhere is on the device."""
        ...

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Unit rows, (n, dim) float32."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text before it is cut."""
        ...

    def image(self, images: Tensor) -> Tensor:
        """Unit rows, (n, dim) float32, of images (n, 3, h, w) in [0, 1]."""
        ...

    def fingerprint(self) -> str:
        """A hash that copies of the same network share, whatever they are called."""
        ...


class _TwoTowers:
    """What CLIP and SigLIP share: a frozen float32 network whose features become unit rows."""

    dim: int

    def __init__(
        self, model: Any, tokenizer: Any, name: str, device: torch.device | str, offload: bool
    ) -> None:
        self.model = model.float().eval().requires_grad_(False)
        self.offloaded = Offloaded([self.model], device, offload)
        self.tokenizer, self.name, self.device = tokenizer, name, torch.device(device)
        self.context: int = model.config.text_config.max_position_embeddings
        self._size: int = model.config.vision_config.image_size

    def awake(self) -> AbstractContextManager[None]:
        """Inside, the network is on the device; worth it around several calls of `text` and `image`."""
        return self.offloaded.awake()

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Unit rows, (n, dim) float32; texts longer than the context are cut."""
        with self.awake():
            parts = [self._text(list(prompts[i : i + TEXTS])) for i in range(0, len(prompts), TEXTS)]
        return F.normalize(torch.cat(parts), dim=-1)

    def _text(self, prompts: list[str]) -> Tensor:
        tokens = self._tokens(prompts)
        return self.model.get_text_features(**{k: v.to(self.device) for k, v in tokens.items()}).pooler_output

    def count_tokens(self, text: str) -> int:
        """Tokens of a text before it is cut, with those for its beginning and end."""
        return len(self.tokenizer(text).input_ids)

    @torch.no_grad()
    def image(self, images: Tensor) -> Tensor:
        """Unit rows, (n, dim) float32, of images (n, 3, h, w) in [0, 1]."""
        pixels = self._pixels(images.to(self.device).float())
        with self.awake():
            features = self.model.get_image_features(pixel_values=pixels)
        return F.normalize(features.pooler_output, dim=-1)

    def fingerprint(self) -> str:
        """SHA-256 of the biases and norms: they are few, and no two trained networks have the same."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.model.named_parameters()):
            if weight.dim() == 1:
                digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _tokens(self, prompts: list[str]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _pixels(self, images: Tensor) -> Tensor:
        raise NotImplementedError


class ClipEncoder(_TwoTowers):
    """A transformers CLIPModel folder or hub id as an Encoder, frozen, in float32.

    Args:
        path: folder or hub id with model, tokenizer and image processor.
        device: where it runs.
        offload: whether it waits on the CPU between its uses.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu", offload: bool = False) -> None:
        words = SAFE_CLIP.get(str(path), path)
        try:
            model = _weights(CLIPModel, path)
            tokenizer = CLIPTokenizer.from_pretrained(words)
            processor = CLIPImageProcessorPil.from_pretrained(words)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is not a CLIP model folder or hub id ({first_line(error)}); {HINT}"
            ) from error
        self._mean, self._std = processor.image_mean, processor.image_std
        self.dim = model.config.projection_dim
        super().__init__(model, tokenizer, str(path), device, offload)

    def _tokens(self, prompts: list[str]) -> dict[str, Tensor]:
        return _clip_tokens(self.tokenizer, prompts, self.context)

    def _pixels(self, images: Tensor) -> Tensor:
        return preprocess(images, self._size, self._mean, self._std)


class HpsEncoder(_TwoTowers):
    """HPSv2 (Wu et al., 2023): a CLIP ViT-H/14 in OpenCLIP's file format, fine-tuned on preferences.

    The cosine of an image and its prompt is the HPS score. The authors pad images that are not square; here
    they are cropped.

    Args:
        source: hpsv2, hpsv2.1, or a file; a tokenizer in the file's folder is used, else the hub's.
        device: where it runs.
        offload: whether it waits on the CPU between its uses.
    """

    def __init__(self, source: str, device: torch.device | str = "cpu", offload: bool = False) -> None:
        path = _hps_file(source)
        state = read_state(path)
        require_vit_h(state, path)
        beside = (path.parent / "tokenizer_config.json").is_file()
        try:
            tokenizer = CLIPTokenizer.from_pretrained(path.parent if beside else HPS_TOKENIZER)
        except (OSError, ValueError) as error:
            raise UserError(
                f"the tokenizer of {source} cannot be loaded ({first_line(error)}); get it with: "
                f"hf download {HPS_TOKENIZER} --include '*.json' --include merges.txt"
            ) from error
        model: Any = clip_model(state)
        self.dim = model.config.projection_dim
        super().__init__(model, tokenizer, source, device, offload)

    def _tokens(self, prompts: list[str]) -> dict[str, Tensor]:
        return _clip_tokens(self.tokenizer, prompts, self.context)

    def _pixels(self, images: Tensor) -> Tensor:
        return preprocess(images, self._size, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)


class SiglipEncoder(_TwoTowers):
    """A SigLIP or fixed-resolution SigLIP 2 folder or hub id as an Encoder, frozen, in float32.

    Args:
        path: folder or hub id with model, tokenizer and image processor.
        device: where it runs.
        offload: whether it waits on the CPU between its uses.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu", offload: bool = False) -> None:
        try:
            model = _weights(SiglipModel, path)
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            processor = SiglipImageProcessorPil.from_pretrained(path)
        except ImportError as error:
            raise UserError(
                f"the tokenizer of {path} needs sentencepiece; install it with: "
                "pip install 'safediffusion[siglip]'"
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is not a SigLIP folder or hub id ({first_line(error)}); {HINT}"
            ) from error
        self._mean, self._std = processor.image_mean, processor.image_std
        self._resample: Resample = RESAMPLE[processor.resample]
        self.dim = model.config.text_config.projection_size
        super().__init__(model, tokenizer, str(path), device, offload)

    def _tokens(self, prompts: list[str]) -> dict[str, Tensor]:
        # Trained on lower case, every text padded to the whole context, and no mask over the padding.
        words = [prompt.lower() for prompt in prompts]
        tokens = self.tokenizer(
            words, padding="max_length", truncation=True, max_length=self.context, return_tensors="pt"
        )
        return {"input_ids": tokens.input_ids}

    def _pixels(self, images: Tensor) -> Tensor:
        return squash(images, self._size, self._mean, self._std, self._resample)


def load_encoder(name: str, device: torch.device | str = "cpu", offload: bool = False) -> Encoder:
    """The encoder called `world`, `hpsv2` or `hpsv2.1`, or the one in a file, a folder or at a hub id.

    With `offload` it waits on the CPU between its uses.
    """
    if name in HPS or name.endswith((".pt", ".bin", ".safetensors")):
        return HpsEncoder(name, device, offload)
    if name == "world":
        encoder = ClipEncoder(asset("reward"), device, offload)
        encoder.name = name
        return encoder
    try:
        kind = AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
    except (OSError, ValueError) as error:
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            raise UserError(
                f"{name} is not on this machine, and the hub cannot be reached; get it with: "
                f"hf download {name}; or {HINT}"
            ) from error
        raise UserError(f"{name} is not an encoder ({first_line(error)}); {HINT}") from error
    if kind == "siglip2":
        raise UserError(
            f"{name} takes images of any shape in patches, which is not supported; "
            "set a fixed size, for example reward.encoder=google/siglip2-base-patch16-224"
        )
    encoders = {"clip": ClipEncoder, "siglip": SiglipEncoder}
    if kind not in encoders:
        raise UserError(f"{name} is a {kind} model, not an image-text encoder that is supported; {HINT}")
    return encoders[kind](name, device, offload)


def _weights(kind: Any, path: str | Path) -> Any:
    """A model all of whose weights are in its files; transformers would draw the missing ones at random."""
    model, loaded = kind.from_pretrained(path, output_loading_info=True)
    if missing := sorted(loaded["missing_keys"]):
        raise UserError(f"{path} lacks {len(missing)} weights, for example {missing[0]}; {HINT}")
    return model


def _clip_tokens(tokenizer: Any, prompts: list[str], context: int) -> dict[str, Tensor]:
    return dict(tokenizer(prompts, padding=True, truncation=True, max_length=context, return_tensors="pt"))


def _hps_file(source: str) -> Path:
    if source not in HPS:
        return Path(source)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(HPS_REPO, HPS[source]))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source} is not here and cannot be fetched; get it with: hf download {HPS_REPO} {HPS[source]}"
        ) from error
