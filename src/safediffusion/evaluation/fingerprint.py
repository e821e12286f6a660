"""Hashes of what an evaluation's records depend on: the model, and everything together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.evaluation.detectors.detector import Row
from safediffusion.evaluation.results import is_judged
from safediffusion.evaluation.tasks import Task
from safediffusion.files.checked import read_json


def has_records_of(folder: Path, key: str) -> bool:
    """Whether a folder holds the whole records of exactly these rows, model, sampler and detectors."""
    return is_judged(folder) and read_json(folder / "results.json").get("fingerprint") == key


def fingerprint(task: Task, rows: Sequence[Row], notes: dict[str, Any], detectors: list[Any]) -> str:
    """Hash of the task, rows, detectors, source, sampler and references that the records depend on."""
    parts = [task.name, task.version, list(rows), detectors]
    parts += [notes[key] for key in ("model_sha256", "sampler", "reference_sha256")]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def model_hash(diffuser: Diffuser) -> str:
    """SHA-256 of all weights of a pipeline as float32, whatever precision its files have."""
    digest = hashlib.sha256()
    for name, module in sorted(diffuser.pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for key, tensor in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
