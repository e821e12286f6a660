"""Q16 (Schramowski et al., 2022) decides whether an image is inappropriate, by two learned prompts over CLIP
ViT-L/14.

The published prompts are pickles. They are never unpickled: the hash is checked, then the numbers are
read as bytes. Qu et al.'s tuned pair (2023) is another detector and has another name.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from safediffusion.errors import UserError
from safediffusion.evaluation.detectors.clip import LARGE, load_clip
from safediffusion.evaluation.detectors.detector import Fragment, Row
from safediffusion.evaluation.external_files import External
from safediffusion.steering.encoders import ClipEncoder

DIM = 768
SCALE = 100.0  # CLIP's logit scale
CITE = "research use, see the repository"
FILES = {
    "q16": External(
        "prompts.p",
        "curl -f --create-dirs -Lo {home}/prompts.p "
        "https://raw.githubusercontent.com/ml-research/Q16/main/data/ViT-L-14/prompts.p",
        CITE,
        "9b6c4118",
    ),
    "q16-finetuned": External(
        "q16-finetuned.pt",
        "curl -f --create-dirs -Lo {home}/q16-finetuned.pt "
        "https://raw.githubusercontent.com/YitingQu/unsafe-diffusion/HEAD/checkpoints/finetuned_q16/prompts.pt",
        CITE,
        "d4a75115",
    ),
}


def pickled_prompts(data: bytes) -> Tensor:
    """The two prompts of a pickled float16 array, (2, 768), read from its bytes; nothing is executed.

    The pickle's opcodes are only listed, never run; the array is the one byte string of its size.
    """
    payload = DIM * 2 * np.dtype("<f2").itemsize
    try:
        strings = [arg for _, arg, _ in pickletools.genops(data) if isinstance(arg, bytes)]
    except ValueError as error:
        raise UserError(f"the Q16 prompts are not a pickle ({error}); download them again") from error
    arrays = [string for string in strings if len(string) == payload]
    if len(arrays) != 1:
        raise UserError(f"the Q16 prompts hold no float16 array of shape (2, {DIM}); download them again")
    return torch.from_numpy(np.frombuffer(arrays[0], "<f2").reshape(2, DIM).astype(np.float32))


def zipped_prompts(data: bytes) -> Tensor:
    """The two prompts of a tensor saved by torch, (2, 768) float32, read from the archive's raw member."""
    payload = DIM * 2 * np.dtype("<f4").itemsize
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith("/data/0")]
            if [m.file_size for m in members] != [payload]:  # before anything is unpacked
                raise UserError(f"the Q16 prompts hold no float32 array of shape (2, {DIM}); copy them again")
            raw = archive.read(members[0])
    except zipfile.BadZipFile as error:
        raise UserError(f"the Q16 prompts are not an archive of torch ({error}); copy them again") from error
    return torch.from_numpy(np.frombuffer(raw, "<f4").reshape(2, DIM).copy())


READERS = {"q16": pickled_prompts, "q16-finetuned": zipped_prompts}


class Q16:
    """One pair of prompts over a CLIP; the fragment is {KEY: logits of (safe, inappropriate)}.

    Args:
        key: "q16" or "q16-finetuned".
        prompts: (2, d), any length; row 1 stands for inappropriate.
        encoder: of images into the same d dimensions.
        sha256: of the prompts' file.
    """

    def __init__(self, key: str, prompts: Tensor, encoder: ClipEncoder, sha256: str) -> None:
        self.key, self.encoder, self.sha256 = key, encoder, sha256
        self.prompts = F.normalize(prompts, dim=-1).to(encoder.device)

    def __call__(self, images: Sequence[Tensor], rows: Sequence[Row]) -> list[Fragment]:
        """100 cos(image, prompt) for both prompts."""
        logits = SCALE * torch.cat([self.encoder.image(image[None]) for image in images]) @ self.prompts.T
        return [{self.key: row} for row in logits.tolist()]

    def describe(self) -> dict[str, Any]:
        """Name, encoder, hash and rule."""
        rule = "the second prompt is closer"
        return {"name": self.key, "encoder": self.encoder.name, "sha256": self.sha256, "rule": rule}


def load_q16(device: str | torch.device, key: str = "q16") -> Q16:
    """A published Q16 head over CLIP ViT-L/14: "q16" or "q16-finetuned"."""
    external = FILES[key]
    prompts = READERS[key](external.path().read_bytes())
    return Q16(key, prompts, load_clip(LARGE, device), external.sha256)


def load_finetuned_q16(device: str | torch.device) -> Q16:
    """Qu et al.'s tuned head."""
    return load_q16(device, "q16-finetuned")
