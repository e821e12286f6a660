"""One hash for all weights of a model."""

from __future__ import annotations

import hashlib

import torch

from safediffusion.diffusion.diffuser import Diffuser


def model_hash(diffuser: Diffuser) -> str:
    """SHA-256 of all weights of a pipeline as float32, whatever precision its files have."""
    digest = hashlib.sha256()
    for name, module in sorted(diffuser.pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for key, tensor in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
