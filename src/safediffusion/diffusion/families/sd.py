"""Stable Diffusion 1.x and 2.x (and World, which is one): a StableDiffusionPipeline as a Diffuser."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from safediffusion.diffusion.condition import Condition

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


class StableDiffusion:
    """The UNet is the policy; text encoder and autoencoder stay frozen and in float32.

    Args:
        pipeline: weights in float32.
        device: where it runs.
        dtype: float32, or bfloat16 for autocast around the UNet (weights stay float32).
    """

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.pipeline = pipeline.to(device)
        self.device = torch.device(device)
        self.dtype = dtype
        # Clipping x0 belongs to pixel models; a schedule that does not mention it would clip by default.
        config = pipeline.scheduler.config
        scheduler = DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)
        self.scheduler = cast(DDIMScheduler, scheduler)
        size = pipeline.unet.config.sample_size
        self.latent_shape = (pipeline.unet.config.in_channels, size, size)
        self.call_rows: int | None = None
        self._parameters: dict[str, nn.Parameter] = {}
        self._reference: list[Tensor] = []
        self._lora = False
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.requires_grad_(False).eval()
        self._empty = self.encode([""])

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Last hidden states of the text encoder, (n, length, d) float32; long prompts are cut."""
        tokenizer = self.pipeline.tokenizer
        ids = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return Condition(self.pipeline.text_encoder(ids.to(self.device))[0].float())

    def predict(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """Output of the network, guided (Ho & Salimans, 2022) if guidance is above 1.

        Args:
            latents: x_t, (n, c, h, w) float32.
            t: timesteps, (n,) int64.
            cond: text conditioning of n rows.
            guidance: scale; up to 1 only the conditional branch is computed.

        Returns:
            (n, c, h, w) float32.
        """
        if guidance <= 1:
            return self._network(latents, t, cond)
        return self.predict_both(latents, t, cond, guidance)[0]

    def predict_both(
        self, latents: Tensor, t: Tensor, cond: Condition, guidance: float
    ) -> tuple[Tensor, Tensor]:
        """Guided and unguided output from one call of twice the batch."""
        n = len(latents)
        both = Condition.cat([self._empty.expand(n), cond])
        free, conditional = self._network(latents.repeat(2, 1, 1, 1), t.repeat(2), both).chunk(2)
        return free + guidance * (conditional - free), conditional

    def _network(self, latents: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """UNet in calls of `call_rows` rows, the last one filled up; in one call where that is None.

        bfloat16 kernels round differently for different shapes. With one shape for rollout and update a
        first-update ratio is 1 to far below a clip range of 1e-4; with two it is not.
        """
        if self.call_rows is None:
            return self._call(latents, t, cond)
        n, rows = len(latents), self.call_rows
        fill = torch.arange(-(-n // rows) * rows, device=self.device) % n
        parts = [self._call(latents[i], t[i], cond[i]) for i in fill.split(rows)]
        return torch.cat(parts)[:n]

    def _call(self, latents: Tensor, t: Tensor, cond: Condition) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            out = self.pipeline.unet(latents, t, encoder_hidden_states=cond.tokens, return_dict=False)[0]
        return out.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] float32 from clean latents (n, c, h, w)."""
        vae = self.pipeline.vae
        shift = vae.config.shift_factor or 0.0
        images = vae.decode(latents / vae.config.scaling_factor + shift, return_dict=False)[0]
        return (images / 2 + 0.5).clamp(0, 1)

    def make_trainable(self, lora_rank: int) -> dict[str, nn.Parameter]:
        """All UNet weights (rank 0), or LoRA matrices on its attention (Hu et al., 2022), by name."""
        unet = self.pipeline.unet
        self._lora = lora_rank > 0
        if self._lora:
            unet.add_adapter(LoraConfig(r=lora_rank, lora_alpha=lora_rank, target_modules=LORA_TARGETS))
        else:
            unet.requires_grad_(True)
        self._parameters = {name: p for name, p in unet.named_parameters() if p.requires_grad}
        return self._parameters

    def keep_reference(self) -> None:
        """Copy the weights as they are now; LoRA needs no copy."""
        if not self._lora:
            self._reference = [p.detach().clone() for p in self._parameters.values()]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the network is the one before training: adapter off, or the kept copy swapped in."""
        if not self._lora:
            with swapped(list(self._parameters.values()), self._reference):
                yield
            return
        self.pipeline.unet.disable_adapters()
        try:
            yield
        finally:
            self.pipeline.unet.enable_adapters()

    def export(self, folder: Path) -> None:
        """Write the pipeline, LoRA merged into it and also on its own in lora/."""
        if not self._lora:
            self.pipeline.save_pretrained(folder)
            return
        merged = copy.deepcopy(self.pipeline.unet)
        merged.fuse_lora()
        merged.unload_lora()
        parts = self.pipeline.components | {"unet": merged}
        StableDiffusionPipeline(**parts, requires_safety_checker=False).save_pretrained(folder)
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.pipeline.unet))
        StableDiffusionPipeline.save_lora_weights(folder / "lora", unet_lora_layers=layers)


@contextmanager
def swapped(parameters: Sequence[nn.Parameter], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the parameters hold the given tensors; exchanged by reference, nothing is copied."""
    kept = [p.data for p in parameters]
    for p, tensor in zip(parameters, tensors, strict=True):
        p.data = tensor
    try:
        yield
    finally:
        for p, tensor in zip(parameters, kept, strict=True):
            p.data = tensor
