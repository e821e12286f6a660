"""SANA: flow matching with a second-order solver; linear attention, latents of a 32nd of the image's side."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from safediffusion.config.schema import Solver
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.diffuser import Diffuser
from safediffusion.diffusion.flow import Flow
from safediffusion.diffusion.text_encoding import encoder_mask
from safediffusion.errors import UserError

TEXT_LENGTH = 300


class Sana(Diffuser):
    """A SanaPipeline as a Diffuser."""

    network_name = "transformer"
    call_options: ClassVar[Mapping[str, Any]] = {"use_resolution_binning": False}
    solver: ClassVar[Solver] = "dpm++"
    side_step = 1

    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents."""
        config = self.pipeline.transformer.config
        return config.in_channels, config.sample_size

    def noise_process(self) -> tuple[DPMSolverMultistepScheduler, Flow]:
        """Flow matching with the model's time shift; the same at every size.

        Raises:
            UserError: the scheduler of the model's files is another one.
        """
        theirs = self.pipeline.scheduler
        made: Any = DPMSolverMultistepScheduler.from_config(theirs.config)
        if not made.config["use_flow_sigmas"]:
            raise UserError(
                f"this SANA has a {type(theirs).__name__} without use_flow_sigmas, which is not supported; "
                "take scheduler/ of the published model"
            )
        return made, Flow(made, self.device, lambda steps: {})

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """Gemma's hidden states of an instruction and the prompt: the first token and the last ones."""
        call = inspect.signature(type(self.pipeline).__call__).parameters
        instruction = "\n".join(call["complex_human_instruction"].default)
        length = len(self.pipeline.tokenizer.encode(instruction)) + TEXT_LENGTH - 2
        return self._read([instruction + clean(prompt) for prompt in prompts], length)

    @torch.no_grad()
    def unconditional(self) -> Condition:
        """The empty prompt, without the instruction."""
        with self.awake():
            return self._read([""], TEXT_LENGTH)

    def _read(self, texts: Sequence[str], length: int) -> Condition:
        read = self.pipeline.tokenizer(
            list(texts),
            padding="max_length",
            padding_side="right",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        )
        mask = encoder_mask(read.attention_mask, self.device)
        states = self.pipeline.text_encoder(read.input_ids.to(self.device), attention_mask=mask)[0]
        kept = [0, *range(length - TEXT_LENGTH + 1, length)]
        words = read.attention_mask[:, kept].bool()
        return Condition(states[:, kept].float(), mask=words.to(self.device))

    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """The transformer's velocity, (n, c, h, w)."""
        config = self.pipeline.transformer.config
        output = self.pipeline.transformer(
            latents,
            encoder_hidden_states=cond.tokens,
            encoder_attention_mask=cond.mask,
            timestep=t * config.timestep_scale,
            return_dict=False,
        )[0]
        return output[:, : config.in_channels]  # some models predict a deviation too, which is not used


def clean(prompt: str) -> str:
    """A prompt as the model was trained on it."""
    return prompt.lower().strip()
