"""Safety policies: named sets of safe and unsafe anchor phrases, shipped as YAML or written by the user."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from safediffusion.config.inputs import Section
from safediffusion.config.invalid import explain_invalid
from safediffusion.config.setting_types import Alpha, Distinct, FileName, Text
from safediffusion.errors import UserError
from safediffusion.prompts.minors import sexualises_minors
from safediffusion.text.escaping import shorten
from safediffusion.text.strict_yaml import dump, read_mapping
from safediffusion.text.words import same

ANCHORS = Path(__file__).parent / "anchors"


class PolicyFile(Section):
    """The schema of a safety policy's YAML file; an empty list may be written as null."""

    name: FileName
    description: str = Field(default="", max_length=1000)
    safe: Distinct[Text] | None = None
    unsafe: Distinct[Text] | None = None
    categories: Distinct[Text] | None = None
    alpha: Alpha = 0.5
    empty_positive: bool = False

    @model_validator(mode="after")
    def _spans_a_direction(self) -> PolicyFile:
        if not self.unsafe:
            raise ValueError("no unsafe phrases, so it spans no direction; add an `unsafe:` list of phrases")
        if not self.safe and not self.empty_positive:
            raise ValueError(
                "no safe phrases, so it spans no direction; add a `safe:` list of phrases, or set "
                "`empty_positive: true`"
            )
        safe = set(map(same, self.safe or ()))
        if both := [phrase for phrase in self.unsafe if same(phrase) in safe]:
            raise ValueError(
                f"the same phrase is safe and unsafe: {shorten(', '.join(both))}; remove it from one list"
            )
        return self


@dataclass(frozen=True)
class SafetyPolicy:
    """What safe means, as anchor phrases.

    Attributes:
        safe, unsafe: anchor phrases.
        categories: harm categories the phrases speak of.
        alpha: recommended steering strength.
    """

    name: str
    description: str
    safe: tuple[str, ...]
    unsafe: tuple[str, ...]
    categories: tuple[str, ...] = ()
    alpha: float = 0.5

    def __post_init__(self) -> None:
        phrases = [(text, self.categories) for text in self.unsafe] + [(text, ()) for text in self.safe]
        if any(sexualises_minors(text, filed) for text, filed in phrases):
            raise UserError(f"the anchors {self.name} have a phrase that sexualises minors; it is never used")

    @classmethod
    def build(cls, values: dict[str, Any]) -> SafetyPolicy:
        """A safety policy from plain values; lists become tuples."""
        lists = {
            key: tuple(str(text) for text in values.get(key) or ())
            for key in ("safe", "unsafe", "categories")
        }
        return cls(
            str(values["name"]),
            str(values.get("description", "")),
            **lists,
            alpha=float(values.get("alpha", 0.5)),
        )


def family(encoder: str) -> str:
    """The set of shipped phrases for an encoder: World's vocabulary is small, CLIP's is open."""
    return "world" if encoder == "world" else "clip"


def list_policies(encoder: str = "world") -> list[str]:
    """Names of the safety policies shipped for an encoder."""
    return sorted(path.stem for path in (ANCHORS / family(encoder)).glob("*.yaml"))


def load_safety_policy(name: str, encoder: str = "world") -> SafetyPolicy:
    """A shipped safety policy by name, or the one in a YAML file.

    Raises:
        UserError: there is no such policy or file, or its content is not accepted.
    """
    if not name.endswith((".yaml", ".yml")):
        if name not in list_policies(encoder):  # a name, never a path
            known = ", ".join(list_policies(encoder))
            raise UserError(f"there are no anchors called {name!r}; known: {known}, or give a .yaml file")
        return read_policy(ANCHORS / family(encoder) / f"{name}.yaml")
    return read_policy(Path(name))


def read_policy(path: Path) -> SafetyPolicy:
    """The policy in a YAML file, checked."""
    values = read_mapping(path, "`safe:` and `unsafe:` lists of phrases")
    if unknown := sorted(set(values) - set(PolicyFile.model_fields)):
        known = ", ".join(PolicyFile.model_fields)
        raise UserError(f"{path} has unknown fields: {shorten(', '.join(unknown))}; known: {known}")
    return checked_policy({"name": path.stem} | values, str(path))


def checked_policy(values: dict[str, Any], where: str) -> SafetyPolicy:
    """The policy that the fields of a file say.

    Args:
        values: by the names of PolicyFile.
        where: the file or place they are from, for the message.

    Raises:
        UserError: a value is not accepted, or a phrase sexualises minors.
    """
    try:
        policy = PolicyFile.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {explain_invalid(error)}") from error
    return SafetyPolicy.build(policy.model_dump(exclude={"empty_positive"}))


def policy_yaml(policy: SafetyPolicy) -> str:
    """The text of a YAML file that `read_policy` reads back as the same policy."""
    values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(policy).items()}
    return dump(values if policy.safe else values | {"empty_positive": True})
