"""Safety policies: named sets of safe and unsafe anchor phrases, shipped as YAML or written by the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..minors import sexualises_minors

ANCHORS = Path(__file__).parent / "anchors"
FIELDS = ("name", "description", "safe", "unsafe", "categories", "alpha", "empty_positive")


@dataclass(frozen=True)
class SafetyPolicy:
    """What safe means, in phrases.

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
        """A policy from plain values; lists become tuples."""
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
    """Which set of shipped phrases suits an encoder: World's vocabulary is small, CLIP's is open."""
    return "world" if encoder == "world" else "clip"


def list_policies(encoder: str = "world") -> list[str]:
    """Names of the shipped policies for an encoder."""
    return sorted(path.stem for path in (ANCHORS / family(encoder)).glob("*.yaml"))


def load_policy(name: str, encoder: str = "world") -> SafetyPolicy:
    """A shipped policy by name, or the policy in a YAML file."""
    if not name.endswith((".yaml", ".yml")):
        path = ANCHORS / family(encoder) / f"{name}.yaml"
        if not path.exists():
            known = ", ".join(list_policies(encoder))
            raise UserError(f"there are no anchors called {name!r}; known: {known}, or give a .yaml file")
        return read_policy(path)
    return read_policy(Path(name))


def read_policy(path: Path) -> SafetyPolicy:
    """The policy in a YAML file, checked."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the anchors {path}: {(error.strerror or 'error').lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())[:160]}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold `safe:` and `unsafe:` lists of phrases")
    if unknown := sorted(set(values) - set(FIELDS)):
        raise UserError(f"{path} has unknown fields: {', '.join(unknown)}; known: {', '.join(FIELDS)}")
    _check_phrases(path, values)
    return SafetyPolicy.build({"name": path.stem} | values)


def _check_phrases(path: Path, values: dict[str, Any]) -> None:
    for side in ("safe", "unsafe"):
        phrases = values.get(side) or []
        if not isinstance(phrases, list) or not all(isinstance(p, str) and p.strip() for p in phrases):
            raise UserError(f"{path}: `{side}` must be a list of non-empty phrases")
        if not phrases and not (side == "safe" and values.get("empty_positive")):
            hint = " (or set `empty_positive: true`)" if side == "safe" else ""
            raise UserError(
                f"{path} has no {side} phrases, so it spans no direction; add a `{side}:` list{hint}"
            )
    if both := sorted(set(values.get("safe") or ()) & set(values["unsafe"])):
        raise UserError(
            f"{path} calls the same phrase safe and unsafe: {', '.join(both)}; remove it from one list"
        )
    alpha = values.get("alpha", 0.5)
    if not isinstance(alpha, int | float) or alpha < 0:
        raise UserError(f"{path}: alpha is {alpha!r}; it must be a number, 0 or more")
