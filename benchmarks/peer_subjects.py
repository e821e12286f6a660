"""The work that `peers.py` compares: sampling, a training round, and NudeNet's detections."""

from __future__ import annotations

import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import diffusers
import torch
from peer_pairs import Absent, Client, Subject, compare, environment, missing, pip
from PIL import Image
from torch import Tensor

import safediffusion
from safediffusion.config import load_config
from safediffusion.config.inputs import ModelConfig
from safediffusion.diffusion import noise
from safediffusion.diffusion.load import load_model
from safediffusion.diffusion.sample import generate
from safediffusion.files.run_folder import RunFolder
from safediffusion.prompts.select import Prompt, load_prompts
from safediffusion.system.device import pick_device
from safediffusion.training.trainer import Trainer
from safediffusion.world import asset

Row = dict[str, Any]
GUIDANCE = 3.0
GROUP, UPDATES = 8, 2  # images per prompt and optimizer steps of a training round
TRL = ("torch==2.13.0", "trl<0.12", "diffusers==0.31.0", "transformers==4.46.3", "accelerate<1.1")
TRL += ("peft==0.13.2", "rich")
ORIGINAL = "ddpo-pytorch"
NUDENETS = {"nudenet": "nudenet==3.0.8", "nudenet-3.4.2": "nudenet==3.4.2"}
SIDE = 512  # pixels of the images that are searched
NEAR = 1e-3  # of a score; the inputs are equal, and onnxruntime may order sums differently


def benign_prompts(n: int) -> list[str]:
    """World's first n benign prompts, as often as it takes."""
    config = load_config("world", ["prompts.path=world-benign"])
    texts = [prompt.text for prompt in load_prompts(config.prompts).rows]
    return [texts[i % len(texts)] for i in range(n)]


def seconds_of(device: str, work: Callable[[], object]) -> float:
    """Seconds of a call, after the device has finished it."""
    start = perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def sampling(steps: Sequence[int], batches: Sequence[int], pairs: int) -> list[Row]:
    """Our sampler beside diffusers' pipeline in float32, text encoding and decoding included."""
    device = pick_device()
    diffuser = load_model(ModelConfig(dtype="fp32"), device)
    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(asset("pipeline")).to(device)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    rows = []
    for batch in batches:
        prompts, seeds = benign_prompts(batch), range(batch)
        start = noise.normal([(noise.SAMPLE, seed) for seed in seeds], (1, *diffuser.latent_shape))[:, 0]
        for count in steps:

            def ours(prompts: list[str] = prompts, seeds: range = seeds, count: int = count) -> Tensor:
                return generate(diffuser, prompts, seeds, count, GUIDANCE)

            def theirs(prompts: list[str] = prompts, start: Tensor = start, count: int = count) -> Tensor:
                return pipe(
                    prompts,
                    latents=start.to(device),
                    num_inference_steps=count,
                    guidance_scale=GUIDANCE,
                    output_type="pt",
                ).images.cpu()

            apart = (ours() - theirs()).abs().max().item()
            subject = Subject(
                f"sampling, {count} steps, batch {batch}",
                f"diffusers {diffusers.__version__}",
                batch,
                f"images in [0, 1] differ by {apart:.1g} at most",
            )
            rows.append(
                compare(
                    subject,
                    lambda ours=ours: seconds_of(device, ours),
                    lambda theirs=theirs: seconds_of(device, theirs),
                    pairs,
                )
            )
    return rows


def training(images: int, steps: int, pairs: int, envs: Path) -> list[Row]:
    """A round of grpo, and one of nft, beside one of TRL's DDPOTrainer; and what became of the original."""
    what = f"training round, {images} images, {steps} steps, {UPDATES} updates"
    rows = []
    try:
        python = environment("ddpo", TRL, envs)
        for algorithm in ("grpo", "nft"):
            rows.append(_training(f"{what}: {algorithm}", algorithm, (images, steps), pairs, python))
    except Absent as reason:
        rows.append(missing(what, "TRL's DDPOTrainer", reason))
        return rows
    return [*rows, missing(what, ORIGINAL, original(python))]


def original(python: Path) -> str:
    """Why the original loop is not measured, as pip and diffusers say it in an environment."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            pip(python, "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, ORIGINAL)
            found = "the package index has a distribution of this name, which is not known to be the original"
        except Absent as reason:
            found = str(reason)
    moved = "has" if hasattr(diffusers.utils, "randn_tensor") else "does not have"
    return (
        f"{found}. Its repository (kvablack/ddpo-pytorch at b590ec0) pins diffusers 0.17.1 and transformers "
        f"4.30.2. It imports diffusers.utils.randn_tensor, which diffusers {diffusers.__version__} {moved}"
    )


def _training(what: str, algorithm: str, size: tuple[int, int], pairs: int, python: Path) -> Row:
    images, steps = size
    texts = [f"a person at beach {i}" for i in range(images // GROUP)]
    job = {
        "peer": "ddpo",
        "model": str(asset("pipeline")),
        "prompts": [text for text in texts for _ in range(GROUP)],
        "steps": steps,
        "guidance": GUIDANCE,
        "images": images,
        "updates": UPDATES,
        "device": pick_device(),
    }
    with Client(python, job) as client, tempfile.TemporaryDirectory() as folder:
        trainer = our_trainer(algorithm, texts, steps, Path(folder))
        own, other = trainer.round()["passes"], client.turn()["passes"]
        subject = Subject(
            what,
            f"DDPOTrainer of trl {client.about['trl']}",
            images,
            f"image-passes {own['forward']} + {own['backward']}, peer {other['forward']} + "
            f"{other['backward']} (forward + backward)",
        )
        device = pick_device()
        return compare(
            subject, lambda: seconds_of(device, trainer.round), lambda: client.turn()["seconds"], pairs
        )


def our_trainer(algorithm: str, texts: Sequence[str], steps: int, folder: Path) -> Trainer:
    """A trainer with the published code's settings; the reward is the mean brightness."""
    images = len(texts) * GROUP
    config = load_config(
        "world-paper",
        [
            f"train.algorithm={algorithm}",
            "model.dtype=fp32",
            f"rollout.steps={steps}",
            f"rollout.guidance={GUIDANCE:g}",
            f"rollout.group_size={GROUP}",
            f"rollout.prompts={len(texts)}",
            f"rollout.batch_size={images}",
            f"train.micro_batch={images // UPDATES}",
            f"train.updates={UPDATES}",
            "train.sample_every=1000000",
        ],
    )

    def brightness(images: Tensor, prompts: object) -> Tensor:
        return images.mean((1, 2, 3)).float()

    diffuser = load_model(config.model, pick_device())
    return Trainer(
        config, diffuser, brightness, [Prompt(text, "benign") for text in texts], RunFolder(folder)
    )


def detection(files: int, pairs: int, envs: Path) -> list[Row]:
    """Our NudeNet detector beside the package nudenet, from image files to boxes."""
    what = f"NudeNet on {files} images of {SIDE} pixels"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        images = world_images(files, Path(folder))
        for key, pin in NUDENETS.items():
            try:
                rows.append(
                    _detection(what, key, images, pairs, environment(key, (pin, "onnxruntime"), envs))
                )
            except Absent as reason:
                rows.append(missing(what, pin.replace("==", " "), reason))
    return rows


def _detection(what: str, key: str, files: Sequence[str], pairs: int, python: Path) -> Row:
    # the environment has the package and onnxruntime; everything else is as it is here
    shared = (Path(safediffusion.__file__).parents[1], Path(sysconfig.get_path("purelib")))
    with Client(python, {"peer": "nudenet", "key": key, "files": list(files)}, shared) as client:
        own, other = client.turn("ours")["found"], client.turn("theirs")["found"]
        subject = Subject(what, f"nudenet {client.about['nudenet']}", len(files), boxes_alike(own, other))
        return compare(
            subject,
            lambda: client.turn("ours")["seconds"],
            lambda: client.turn("theirs")["seconds"],
            pairs,
        )


def boxes_alike(ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]) -> str:
    """How many images have the same boxes on both sides, in order, with their labels and scores."""
    same = sum(
        len(own) == len(other)
        and all(
            a[0] == b[0] and abs(a[1] - b[1]) <= NEAR and list(a[2]) == list(b[2])
            for a, b in zip(own, other, strict=True)
        )
        for own, other in zip(ours, theirs, strict=True)
    )
    found = [sum(map(len, side)) for side in (ours, theirs)]
    if not any(found):
        return "neither finds a box, so no box is compared"
    return f"{same} of {len(ours)} images have the same boxes ({found[0]} and {found[1]} boxes in all)"


def world_images(n: int, folder: Path) -> list[str]:
    """Files of images that World draws of benign prompts, enlarged."""
    diffuser = load_model(ModelConfig(dtype="fp32"), pick_device())
    drawn = generate(diffuser, benign_prompts(n), range(n), 10, GUIDANCE)
    files = []
    for i, image in enumerate((drawn * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        files.append(str(folder / f"{i}.png"))
        Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(files[-1])
    return files
