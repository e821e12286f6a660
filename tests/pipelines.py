"""Tiny pipelines of the genuine classes with random weights, one a family."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, Qwen3ForCausalLM, Qwen3Model

from safediffusion.diffusion.architectures import NO_QUANT, SANA_FLOW
from safediffusion.diffusion.architectures import NOISE as PUBLISHED_NOISE
from safediffusion.diffusion.families.flux import pack
from tests.tiny_text import (
    clip_config,
    gemma_encoder,
    gemma_tokenizer,
    qwen_config,
    qwen_tokenizer,
    t5_encoder,
    t5_tokenizer,
    tiny_tokenizer,
)

NOISE = {name: value for name, value in PUBLISHED_NOISE.items() if name != "set_alpha_to_one"}
UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


def vae(channels: int, **changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
        **changes,
    )


def tiny_pipeline(
    prediction: str = "epsilon", seed: int = 0, alpha_to_one: bool = False
) -> StableDiffusionPipeline:
    torch.manual_seed(seed)
    text, unet, autoencoder = clip_config(), UNet2DConditionModel(**UNET), vae(4)
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=CLIPTextModel(text),
        tokenizer=tiny_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**NOISE, set_alpha_to_one=alpha_to_one, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sdxl() -> StableDiffusionXLPipeline:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        **UNET | {"cross_attention_dim": 32},
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    )
    return StableDiffusionXLPipeline(
        vae=vae(4),
        text_encoder=CLIPTextModel(clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(24)),
        tokenizer=tiny_tokenizer(),
        tokenizer_2=tiny_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**NOISE, set_alpha_to_one=False),
        add_watermarker=False,
    )


def tiny_sd3() -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(4, scaling_factor=1.5, shift_factor=0.06, **NO_QUANT),
        text_encoder=CLIPTextModelWithProjection(clip_config()),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config()),
        tokenizer_2=tiny_tokenizer(),
        text_encoder_3=t5_encoder(),
        tokenizer_3=t5_tokenizer(),
    )


def tiny_flux(guidance_embeds: bool = True) -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae(4, scaling_factor=0.36, shift_factor=0.12, **NO_QUANT),
        text_encoder=CLIPTextModel(clip_config()),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
    )


def tiny_chroma() -> ChromaPipeline:
    torch.manual_seed(0)
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(2, 2, 4),
        approximator_num_channels=16,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return ChromaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae(4, scaling_factor=0.36, shift_factor=0.12, **NO_QUANT),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
    )


def tiny_z_image() -> ZImagePipeline:
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=8,
        axes_dims=[2, 2, 4],
        axes_lens=[600, 16, 16],
    )
    for pad in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(pad)
    return ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=vae(4, scaling_factor=0.36, shift_factor=0.12, **NO_QUANT),
        text_encoder=Qwen3Model(qwen_config(2)),
        tokenizer=qwen_tokenizer(),
    )


def tiny_flux2(distilled: bool = False) -> Flux2KleinPipeline:
    torch.manual_seed(0)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    )
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    autoencoder.bn.running_mean = 0.2 * torch.randn(16)
    autoencoder.bn.running_var = 0.5 + torch.rand(16)
    return Flux2KleinPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder,
        text_encoder=Qwen3ForCausalLM(qwen_config(27)),
        tokenizer=qwen_tokenizer(),
        is_distilled=distilled,
    )


def tiny_sana() -> SanaPipeline:
    torch.manual_seed(0)
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
    )
    autoencoder = AutoencoderDC(
        latent_channels=4,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.4,
    )
    pipeline = SanaPipeline(
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(**SANA_FLOW),
        vae=autoencoder,
        text_encoder=gemma_encoder(),
        tokenizer=gemma_tokenizer(),
    )
    pipeline.check_inputs = lambda *_: None  # it asks for sides that the published autoencoder has
    return pipeline


# A recipe's family: the pipeline, and the settings that keep it small.
FAMILIES: dict[str, Callable[[], Any]] = {
    "sd": tiny_pipeline,
    "sd-v": lambda: tiny_pipeline("v_prediction"),
    "sdxl": tiny_sdxl,
    "sd3": tiny_sd3,
    "flux": tiny_flux,
    "chroma": tiny_chroma,
    "z-image": tiny_z_image,
    "flux2": tiny_flux2,
    "sana": tiny_sana,
}
# For slow tests: the whole network and an adapter, of the later families only one, to spare minutes.
ONE_RANK = {"chroma": 4, "z-image": 0, "flux2": 4, "sana": 0}
FAMILIES_AND_RANKS = [(f, rank) for f in FAMILIES for rank in (0, 4) if ONE_RANK.get(f, rank) == rank]
PACKED = ("FluxPipeline", "ChromaPipeline")  # they take and give latents as tokens
RESOLUTION = 16  # some have no size of their own in their files; the others are made for this one


def plain_images(pipeline: Any, z: torch.Tensor, steps: int, guidance: float, prompt: str) -> torch.Tensor:
    """What diffusers itself draws from initial noise as this package has it, (n, 3, h, w) in [0, 1]."""
    kind = type(pipeline).__name__
    if kind == "ZImagePipeline":
        guidance -= 1  # it counts from 0
    options = {}
    if kind == "SanaPipeline":
        options["use_resolution_binning"] = False
        pipeline.check_inputs = lambda *_: None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt=prompt,
        latents=pack(z) if kind in PACKED else z,
        height=RESOLUTION,
        width=RESOLUTION,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="pt",
        **options,
    ).images
