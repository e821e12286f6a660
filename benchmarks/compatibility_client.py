"""What `compatibility.py` runs inside another environment: plain diffusers, nothing of this project.

python compatibility_client.py base VOCABULARY OUT       write a tiny model in Stable Diffusion 1.4's layout
python compatibility_client.py draw JOBS OUT             draw a picture for each job of a JSON file
"""

import json
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

VERSIONS = (
    "diffusers",
    "transformers",
    "tokenizers",
    "peft",
    "huggingface_hub",
    "safetensors",
    "torch",
    "numpy",
)


def base(vocabulary: str, out: str) -> None:
    """A model with the parts, classes and files of Stable Diffusion 1.4, small, its weights random."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    words = CLIPTokenizer(f"{vocabulary}/vocab.json", f"{vocabulary}/merges.txt", model_max_length=77)
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {**text, "image_size": 32, "patch_size": 16, "projection_dim": 16}
    ids = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    side = {"height": 32, "width": 32}
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=64,
    )
    vae.decoder.conv_out.weight.data *= 20  # random weights draw grey otherwise, whatever the latents
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=len(words), **text, **ids)),
        tokenizer=words,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 16, 32, 32),
            norm_num_groups=4,
            layers_per_block=2,
            cross_attention_dim=32,
            attention_head_dim=4,
        ),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=StableDiffusionSafetyChecker(
            CLIPConfig(text_config={**text, "projection_dim": 16}, vision_config=vision, projection_dim=16)
        ),
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side),
    ).save_pretrained(out)


def draw(jobs: str, out: str) -> None:
    """One picture (h, w, 3) in [0, 1] per job to OUT.safetensors; what the libraries say to OUT.json.

    A job: model, adapter (a file or null), noise, steps, guidance, size.
    """
    from diffusers import DDIMScheduler, DiffusionPipeline

    told = Told()
    for library in ("diffusers", "transformers"):
        logging.getLogger(library).addHandler(told)
    pictures, said = {}, {}
    for name, job in json.loads(Path(jobs).read_text(encoding="utf-8")).items():
        told.lines.clear()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pipe = DiffusionPipeline.from_pretrained(job["model"])
                if job["adapter"]:
                    file = Path(job["adapter"])
                    pipe.load_lora_weights(file.parent, weight_name=file.name)
            pipe.set_progress_bar_config(disable=True)
            if "FlowMatch" not in type(pipe.scheduler).__name__:
                # clip_sample is for models of pixels; the trainer's sampler has none
                pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
            images = pipe(
                job["prompt"],
                latents=load_file(job["noise"])["noise"],
                num_inference_steps=job["steps"],
                guidance_scale=job["guidance"],
                output_type="np",
                **job["size"],
            ).images
            pictures[name] = torch.from_numpy(images[0]).float().contiguous()
            said[name] = [line for line in told.lines if "initialized" in line or "not used" in line]
        except Exception as error:  # the answer is that it does not open
            said[name] = [f"{type(error).__name__}: {error}"]
    save_file(pictures, f"{out}.safetensors")
    Path(f"{out}.json").write_text(
        json.dumps({"said": said, "versions": {name: version(name) for name in VERSIONS}}), encoding="utf-8"
    )


class Told(logging.Handler):
    """Keeps what a library logs."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


if __name__ == "__main__":
    {"base": base, "draw": draw}[sys.argv[1]](*sys.argv[2:])
