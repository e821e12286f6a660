"""The settings of what a run starts from: its model and its prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from safediffusion.config.setting_types import Decay, Distinct, Label, NonNegative, Place, Positive, Text


class Section(BaseModel):
    """A group of settings: frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), strict=True)


def is_checkpoint(path: str) -> bool:
    """Whether a model's path names a checkpoint in a single file."""
    return path.lower().endswith(".safetensors")


class ModelConfig(Section):
    """The model that is trained or evaluated."""

    path: Place = Field(
        default="world",
        description="pipeline folder, .safetensors checkpoint, hub id (OWNER/NAME, OWNER/NAME/SUBFOLDER or "
        "OWNER/NAME/FILE.safetensors), or world (the embedded model)",
    )
    revision: Text | None = Field(
        default=None, description="commit, branch or tag of a hub id; null: its main branch"
    )
    variant: Text | None = Field(
        default=None,
        description="variant of a pipeline's weights, such as fp16; null: the plain ones, or where there are "
        "none the variant that is there",
    )
    config: Place | None = Field(
        default=None,
        description="pipeline folder or hub id that gives a .safetensors checkpoint its settings and "
        "tokenizers, and the parts it lacks; null: those of SD 1.x, 2.x or SDXL, whichever it is",
    )
    prediction: Literal["epsilon", "v_prediction"] | None = Field(
        default=None,
        description="what the network of a .safetensors checkpoint predicts; null: what the file says or "
        "shows",
    )
    family: Text | None = Field(
        default=None,
        description="class of your own that wraps the pipeline, as pkg.mod:Class; null: chosen by the class "
        "of the pipeline",
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="precision of the network; auto: bf16 where the device has it. Latents and scheduler "
        "are fp32",
    )

    storage: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="precision in which frozen weights are kept; bf16 and fp16 halve their memory and need "
        "LoRA",
    )
    vae: Literal["whole", "sliced", "tiled"] = Field(
        default="whole",
        description="decode a whole batch at once, or with less memory image by image or tile by tile",
    )
    tiny_vae: Place | None = Field(
        default=None,
        description="folder or hub id of an AutoencoderTiny that decodes images for the rewards. It is used "
        "as long as it ranks the images of a group like the full autoencoder. null: the full one decodes",
    )
    offload: bool = Field(
        default=False,
        description="keep the text encoders, and those of the rewards, in the computer's memory while unused",
    )
    resolution: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        default=None, description="side of the images in pixels; null is what the model was made for"
    )

    def at(self, path: str) -> ModelConfig:
        """The same way to load another model: without what belongs to this one's place alone.

        `config` and `prediction` stay for another checkpoint in a single file, of the same kind most likely.
        """
        if path == self.path:
            return self
        left: dict[str, None] = {"revision": None, "variant": None}
        if not is_checkpoint(path):
            left |= {"config": None, "prediction": None}
        return self.model_copy(update={"path": path, **left})


# Sources that stand for a mixture of others, by weight.
MIXTURES = {
    "world-mixed": {"world-explicit": 3, "world-implicit": 2, "world-benign": 3},
    "safety": {"coprov2": 5, "benign": 3},  # unsafe and benign prompts in the same shares
}
# Datasets of the hub by a name of ours, and how they are read. CoProV2 (Liu et al., 2025) is what the paper
# trained on: each caption is an unsafe prompt of one of seven categories, beside images, which are not read.
HUB_SETS = {
    "coprov2": {"path": "Visualignment/CoProv2-SD15", "column": "caption", "label": "unsafe"},
}


class PromptSource(Section):
    """One source of prompts."""

    path: Place = Field(
        default="world",
        description="safety (of eight prompts, five unsafe ones of coprov2 and three benign); coprov2 (the "
        "paper's, a dataset of the hub); benign (everyday prompts of this package); world; world-mixed (of "
        "eight, three name a harm, two sound innocent and three are benign); a part of world (world-benign, "
        "world-implicit, world-explicit); a .csv, .tsv, .jsonl, .json, .txt or .parquet file; "
        "or a dataset of the hub as owner/name",
    )
    column: Text = Field(default="prompt", description="column of the prompts in a file or dataset")
    subset: Text | None = Field(default=None, description="configuration of a dataset, where it has several")
    split: Text = Field(default="train", description="split of a dataset")
    label: Label | None = Field(
        default=None, description="label of all its prompts; null reads the column label"
    )
    category: Text | None = Field(
        default=None, description="harm category of all its prompts; null reads the column category"
    )
    weight: Positive = Field(
        default=1.0, description="share of the prompts of a round, relative to other sources"
    )
    accept_sensitive: bool = Field(
        default=False, description="load a set that is known to ask for harmful images, such as I2P"
    )

    @property
    def parts(self) -> list[PromptSource]:
        """The sources of a mixture, or the source itself; datasets by their id on the hub."""
        parts = MIXTURES.get(self.path, {self.path: 1})
        total = sum(parts.values())
        return [
            self.model_copy(
                update={"path": path, "weight": self.weight * share / total} | HUB_SETS.get(path, {})
            )
            for path, share in parts.items()
        ]


class PromptsConfig(PromptSource):
    """All prompts of a run: the main source and further ones."""

    also: list[PromptSource] = Field(
        default_factory=list,
        max_length=100,
        description="further sources, mixed into every round by their weights",
    )
    categories: Distinct[Text] = Field(
        default_factory=list,
        description="harm categories that are trained on. Prompts of another category are left out, those "
        "labelled benign or without a category stay; []: all",
    )
    heldout: Decay = Field(
        default=0.0,
        description="share of the prompts of each source and label that is never trained on, for the task "
        "heldout; chosen by a hash of the text, so that the order of the prompts does not matter. 0: none",
    )
    anchors: NonNegative = Field(
        default=0.0,
        description="weight of a further source: the unsafe phrases of reward.anchors as unsafe prompts; "
        "0: none",
    )

    @property
    def sources(self) -> list[PromptSource]:
        """All sources, the main one first, with mixtures replaced by their parts."""
        return [part for source in (self, *self.also) for part in source.parts]

    @property
    def weights(self) -> list[float]:
        """The weights of all sources, that of the anchor phrases last."""
        anchors = [self.anchors] if self.anchors else []
        return [source.weight for source in self.sources] + anchors
