"""A text-to-image model as a policy: guidance, call shapes, adapters, the reference model, decoding, export.

The file of a family says how its text is encoded, how its network is called and which noise process it has.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from safediffusion.config.schema import Solver
from safediffusion.diffusion.acting_method import ActingMethod, require_guidance
from safediffusion.diffusion.adapters import check_targets, ending, layer_names
from safediffusion.diffusion.autoencoder import decoded
from safediffusion.diffusion.condition import Condition
from safediffusion.diffusion.export import Source, write_pipeline
from safediffusion.diffusion.meta import AsOnGpu
from safediffusion.diffusion.noise_process import Process
from safediffusion.diffusion.sharding import Sharded
from safediffusion.diffusion.swap_weights import swapped
from safediffusion.errors import UserError
from safediffusion.system.offload import Offloaded

MOST_TIMES = 4  # the native side; attention at that size needs 256 times the memory


class Diffuser(ABC):
    """A text-to-image model whose network is the policy; text encoders and autoencoder stay frozen.

    A subclass, one per family of models, names its network and implements the abstract methods.

    Args:
        pipeline: a diffusers pipeline of the family; the autoencoder and all weights to train are float32.
        device: where it runs.
        dtype: float32, or bfloat16 or float16 for autocast around the network.
        resolution: side of the images in pixels; None is what the model was made for.
        offload: keep the text encoders on the CPU outside of `awake`.
    """

    network_name: ClassVar[str]
    lora_targets: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0")
    distilled: ClassVar[bool] = False  # guidance is an input of the network: one pass instead of two
    guidance_offset: ClassVar[float] = 0.0  # our guidance less the pipeline's own number
    load_options: ClassVar[Mapping[str, Any]] = {}  # for the pipeline's from_pretrained
    call_options: ClassVar[Mapping[str, Any]] = {}  # for a call of the pipeline that evaluations sample with
    solver: ClassVar[Solver] = "ddim"  # of the plain pipeline
    side_step: ClassVar[int] = 2  # sides of latents are a multiple of it

    def __init__(
        self,
        pipeline: Any,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        resolution: int | None = None,
        offload: bool = False,
    ) -> None:
        self.pipeline: Any = pipeline
        self.device = torch.device(device)
        self.dtype = dtype
        encoders = []
        for name, part in pipeline.components.items():
            if not isinstance(part, nn.Module):
                continue
            part.requires_grad_(False).eval()
            if is_encoder(name, part):
                encoders.append(part)
            else:
                part.to(self.device)
        self.encoders = Offloaded(encoders, self.device, offload)
        channels, side = self.native_latents()
        if resolution is not None:
            side = self._side(resolution, MOST_TIMES * side)
        self.resolution = side * self.pixels
        self.latent_shape = (channels, side, side)
        self.scheduler, self.process = self.noise_process()
        self.call_rows: int | None = None
        self.tiny: Any = None
        self.source = Source()
        self._parameters: dict[str, nn.Parameter] = {}
        self._reference: list[Tensor] = []
        self._lora = False
        self._sharded: Sharded | None = None
        self.sampled_by: ActingMethod | None = None

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        return getattr(self.pipeline, self.network_name)

    def _refuse_sampling_method(self) -> None:
        if self.sampled_by:
            raise UserError(
                f"{self.sampled_by.name} acts while this model samples and changes no weights, so it can be "
                f"neither trained nor exported; load the model without +{self.sampled_by.name}"
            )

    @cached_property
    def _empty(self) -> Condition:
        return self.unconditional()

    @property
    def pixels(self) -> int:
        """Side of the square of pixels that one position of the latents stands for."""
        return self.pipeline.vae_scale_factor

    @abstractmethod
    def native_latents(self) -> tuple[int, int]:
        """Channels and side of the latents that the model was made for."""

    @abstractmethod
    def noise_process(self) -> tuple[Any, Process]:
        """A scheduler of our own with the model's settings, and the process it describes."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """Text conditioning, float32, by encoders that are on the device; long prompts are cut."""

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Text conditioning, float32; long prompts are cut."""
        with self.awake():
            return self.encode_text(prompts)

    def awake(self) -> AbstractContextManager[None]:
        """Inside, the text encoders are on the device; worth it around several calls of `encode`."""
        return self.encoders.awake()

    def unconditional(self) -> Condition:
        """The unconditional branch of classifier-free guidance, one row."""
        return self.encode([""])

    @abstractmethod
    def forward(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """Output of one network call, (n, c, h, w); only a distilled network uses `guidance`."""

    def predict(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """Output of the network, guided (Ho & Salimans, 2022) if guidance is above 1.

        Args:
            latents: x_t, (n, c, h, w) float32.
            t: timesteps, (n,).
            cond: text conditioning of n rows.
            guidance: scale; up to 1 only the conditional branch is computed.

        Returns:
            (n, c, h, w) float32.
        """
        if self.distilled or guidance <= 1:
            return self._network(latents, t, cond, guidance)
        return self.predict_both(latents, t, cond, guidance)[0]

    @property
    def takes_guidance(self) -> bool:
        """Whether guidance above 1 means anything to this model."""
        return True

    def refuse_guidance(self, guidance: float) -> None:
        """Refuse guidance of a model that has none, and none where a method acts through it.

        Raises:
            UserError: what to set instead.
        """
        if guidance > 1 and not self.takes_guidance:
            raise UserError(
                f"a guidance of {guidance:g} is set, but this {type(self.pipeline).__name__} is distilled to "
                "few steps and takes none; set rollout.guidance=1 and evaluate.guidance=1 (`sample`, "
                "`evaluate` and `relapse` have --guidance 1), or model.path to the base model"
            )
        if self.sampled_by and self.sampled_by.needs_guidance:
            require_guidance(self.sampled_by.name, guidance)

    def predict_both(
        self, latents: Tensor, t: Tensor, cond: Condition, guidance: float
    ) -> tuple[Tensor, Tensor]:
        """Guided and unguided output from one call of twice the batch."""
        both = Condition.cat([self._empty.expand(len(latents)), cond])
        output = self._network(latents.repeat(2, 1, 1, 1), t.repeat(2), both, guidance)
        free, conditional = output.chunk(2)
        return free + guidance * (conditional - free), conditional

    def _network(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """Call the network on `call_rows` rows at a time, the last call padded; None is all rows at once.

        Half-precision kernels round differently for different shapes. With one shape for rollout and update
        the ratio before the first optimizer step deviates from 1 by far less than a clip range of 1e-4; with
        two shapes it does not.
        """
        if self.call_rows is None:
            return self._call(latents, t, cond, guidance)
        kinds = self._alike(cond)
        if len(kinds) == 1:
            return self._calls(latents, t, cond, guidance)
        outputs = {}
        for rows in kinds:
            x, times = (torch.cat([of[i : i + 1] for i in rows]) for of in (latents, t))
            texts = Condition.cat([cond[i : i + 1] for i in rows])
            outputs |= zip(rows, self._calls(x, times, texts, guidance).split(1), strict=True)
        return torch.cat([outputs[i] for i in range(len(latents))])

    def _calls(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        """Calls of `call_rows` rows each; slices, because a tensor of indices would be waited for."""
        assert self.call_rows
        n, rows = len(latents), self.call_rows
        total = -(-n // rows) * rows
        times = -(-total // n)
        if total > n:
            latents, t, cond = latents.repeat(times, 1, 1, 1), t.repeat(times), Condition.cat([cond] * times)
        slices = [slice(start, start + rows) for start in range(0, total, rows)]
        return torch.cat([self._call(latents[i], t[i], cond[i], guidance) for i in slices])[:n]

    def _alike(self, cond: Condition) -> list[list[int]]:
        """Groups of rows that have the same shape inside the network whatever stands beside them."""
        return [list(range(len(cond)))]

    def _call(self, latents: Tensor, t: Tensor, cond: Condition, guidance: float) -> Tensor:
        with self._precision(), self._attention():
            return self.forward(latents, t, cond, guidance).float()

    def _precision(self) -> AbstractContextManager[Any]:
        if self.device.type == "meta":  # autocast does not know it
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _attention(self) -> AbstractContextManager[Any]:
        """Kernels to train a transformer with: a CPU's fused attention is slow backwards.

        Rollout and update share them, or ratios would not start at 1. UNets have `AttnProcessor` instead.
        """
        if self.device.type == "meta":
            return AsOnGpu(self.dtype)
        trained_on_cpu = self.device.type == "cpu" and bool(self._parameters)
        return sdpa_kernel(SDPBackend.MATH) if trained_on_cpu else nullcontext()

    def compile(self) -> None:
        """From now on calls of `call_rows` rows run compiled: one shape, so each kind of call compiles once.

        Other calls, as of an evaluation, have any shape and run as before.
        """
        network: Any = self.network
        plain = network.forward
        compiled = torch.compile(plain, dynamic=False)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return (plain if self.call_rows is None else compiled)(*args, **kwargs)

        network.forward = forward

    def recompute_activations(self) -> None:
        """Gradient checkpointing: keep only the inputs of blocks and recompute the rest."""
        network: Any = self.network
        network.enable_gradient_checkpointing(lambda block, *args: self._recomputed(block, *args))

    def _recomputed(self, block: nn.Module, *args: Any, **options: Any) -> Any:
        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), self._attention()

        return checkpoint(block, *args, use_reentrant=False, context_fn=contexts, **options)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] float32 from clean latents (n, c, h, w)."""
        return decoded(self.pipeline.vae, latents)

    def unpacked(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) of this model's resolution from those that its pipeline gives out."""
        return latents

    @torch.no_grad()
    def decode_small(self, latents: Tensor) -> Tensor:
        """The same by the tiny autoencoder; `tiny` must be set."""
        return decoded(self.tiny, latents)

    def make_trainable(
        self, lora_rank: int, shard: bool = False, targets: Sequence[str] = ()
    ) -> dict[str, nn.Parameter]:
        """All of the network (rank 0), or LoRA matrices on its attention (Hu et al., 2022), by name.

        Args:
            lora_rank: of the matrices.
            shard: keep only this process' shard of each weight, see `Sharded`.
            targets: ends of the names of the layers that get an adapter; none: all of `lora_targets`.

        Raises:
            UserError: a target is not the end of the name of such a layer; or a method acts while the model
                samples.
        """
        self._refuse_sampling_method()
        network: Any = self.network
        if self.device.type == "cpu" and self.network_name == "unet":
            network.set_attn_processor(AttnProcessor())  # plain products, the fastest there both ways
        self._lora = lora_rank > 0
        if self._lora:
            check_targets(network, self.lora_targets, targets)
            places = ending(layer_names(network), targets or self.lora_targets)
            network.add_adapter(LoraConfig(r=lora_rank, lora_alpha=lora_rank, target_modules=places))
        else:
            network.requires_grad_(True)
        for p in network.parameters():
            if p.requires_grad:
                p.data = p.data.float()  # adapters take over the type of the frozen weights
        self._sharded = Sharded(network) if shard else None
        self._parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        return self._parameters

    @contextmanager
    def whole(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, trained parameters have the given values, and no call waits for another process.

        All processes enter together where the network is sharded.
        """
        if self._sharded is None:
            with swapped([self._parameters[name] for name in values], list(values.values())):
                yield
            return
        trained = self.network
        with self._sharded.whole(values) as network:
            self.pipeline.register_modules(**{self.network_name: network})
            try:
                yield
            finally:
                self.pipeline.register_modules(**{self.network_name: trained})

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
        network: Any = self.network
        network.disable_adapters()
        try:
            yield
        finally:
            network.enable_adapters()

    def export(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the pipeline, LoRA merged into it and also on its own in lora/; see `write_pipeline`.

        The files hold contiguous tensors, so the network becomes contiguous too; training is over by then.

        Raises:
            UserError: a method acts while the model samples, which no file of weights can hold.
        """
        self._refuse_sampling_method()
        network: Any = self.network
        network.to(memory_format=torch.contiguous_format)
        write_pipeline(self.pipeline, self.network_name, folder, self._lora, dtype, self.source)

    def _side(self, resolution: int, most: int) -> int:
        """Side of the latents of images with `resolution` pixels a side, at most `most`."""
        side, rest = divmod(resolution, self.pixels)
        if side > most:
            raise UserError(
                f"model.resolution is {resolution}, more than {MOST_TIMES} times what this model was made "
                f"for; set it to {most * self.pixels} or less"
            )
        if rest or side % self.side_step:
            step = self.side_step * self.pixels
            raise UserError(
                f"model.resolution is {resolution}; set it to a multiple of {step} for this model"
            )
        return side


def is_encoder(name: str, part: Any) -> bool:
    """Whether a pipeline's component reads text."""
    return name.startswith("text_encoder") and isinstance(part, nn.Module)
