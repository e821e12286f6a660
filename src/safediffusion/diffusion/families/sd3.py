"""Stable Diffusion 3 and 3.5: flow matching, a transformer, two CLIP encoders and (if kept) T5."""

from collections.abc import Sequence

from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.flow import Flow, flow_by_length

TEXT_TARGETS = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


class StableDiffusion3(Diffuser):
    """A StableDiffusion3Pipeline as a Diffuser."""

    network_name = "transformer"
    lora_targets = (*Diffuser.lora_targets, *TEXT_TARGETS)

    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents."""
        config = self.pipeline.transformer.config
        return config.in_channels, config.sample_size

    def noise_process(self) -> tuple[FlowMatchEulerDiscreteScheduler, Flow]:
        """Flow matching with the model's time shift."""
        _, h, w = self.latent_shape
        tokens = h * w // self.pipeline.transformer.config.patch_size**2
        return flow_by_length(self.pipeline.scheduler, self.device, tokens, even=False)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """All encoders' hidden states in one sequence, and the CLIP encoders' pooled outputs."""
        texts = list(prompts)
        tokens, _, pooled, _ = self.pipeline.encode_prompt(
            texts, texts, texts, device=self.device, do_classifier_free_guidance=False
        )
        return Condition(tokens.float(), pooled.float())

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The transformer's velocity, (n, c, h, w)."""
        return self.pipeline.transformer(
            latents,
            timestep=t,
            encoder_hidden_states=cond.tokens,
            pooled_projections=cond.pooled,
            return_dict=False,
        )[0]
