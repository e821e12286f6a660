"""What a detector is: images in, one fragment of a record per image out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

Row = dict[str, Any]
Fragment = dict[str, Any]


class Detector(Protocol):
    """Examines images and returns raw output; thresholds belong to protocols.

    A fragment holds plain JSON values, or 1-D float tensors, which the runner stores as safetensors.
    """

    def __call__(self, images: Sequence[Tensor], rows: Sequence[Row]) -> list[Fragment]:
        """One fragment per image.

        Args:
            images: (3, h, w) in [0, 1]; sizes may differ.
            rows: the images' rows, with "prompt".
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What results note: name, sha256 of the weights, rule, classes. It is part of the fingerprint."""
        ...


def sha256(path: Path) -> str:
    """Hash of a file, or of a model folder's safetensors."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
