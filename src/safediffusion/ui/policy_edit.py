"""A safety policy as it is edited on the page: phrases as lines of text, and the file that they become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safediffusion.errors import UserError
from safediffusion.files.atomic import write_text
from safediffusion.files.paths import checked, out_path
from safediffusion.steering.anchors import SafetyPolicy, checked_policy, load_safety_policy, policy_yaml
from safediffusion.text import words
from safediffusion.text.strict_yaml import parse
from safediffusion.text.words import same

ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Draft:
    """The fields of the page.

    Attributes:
        safe, unsafe: phrases, one a line.
        categories: with commas.
        alpha: recommended steering strength.
        one_sided: no safe phrases are wanted.
    """

    safe: str
    unsafe: str
    categories: str = ""
    description: str = ""
    alpha: float = 0.5
    one_sided: bool = False

    @classmethod
    def of(cls, policy: SafetyPolicy) -> Draft:
        """The fields of a policy."""
        return cls(
            "\n".join(policy.safe),
            "\n".join(policy.unsafe),
            ", ".join(policy.categories),
            policy.description,
            policy.alpha,
            not policy.safe,
        )

    def policy(self, name: str) -> SafetyPolicy:
        """The policy, held to the rules of a policy's file.

        Raises:
            UserError: a field is not accepted, or a phrase sexualises minors.
        """
        values = {
            "name": name,
            "description": self.description.strip(),
            "safe": lines(self.safe),
            "unsafe": lines(self.unsafe),
            "categories": [part.strip() for part in self.categories.split(",") if part.strip()],
            "alpha": self.alpha,
            "empty_positive": self.one_sided,
        }
        return checked_policy(values, "this policy")


def lines(text: str) -> list[str]:
    """The lines of a text that are not empty, without spaces at their ends."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def without(text: str, phrases: list[str]) -> str:
    """The lines of a text but some phrases."""
    gone = set(map(same, phrases))
    return "\n".join(line for line in lines(text) if same(line) not in gone)


def start_from(name: str, encoder: str) -> Draft:
    """The fields of a shipped policy by name, or of a YAML file.

    Raises:
        UserError: there is no such policy, or its file is not accepted.
    """
    return Draft.of(load_safety_policy(checked(words.path_text, name.strip(), "the policy"), encoder))


def place(text: str, runs_dir: Path) -> Path:
    """Where a policy is saved: a name alone is a file in the folder of runs, anything else a path.

    Raises:
        UserError: it is not the path of a YAML file that can be written.
    """
    typed = text.strip()
    alone = typed and Path(typed).name == typed and not typed.startswith("~")
    path = out_path(str(runs_dir / typed) if alone else typed)
    if path.suffix not in ENDINGS:
        raise UserError(f"{path} has no ending of a policy's file; give a name that ends in .yaml")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file in it")
    return path


def save(draft: Draft, path: Path, over: bool) -> SafetyPolicy:
    """Write a policy as a file that `reward.anchors` takes.

    Args:
        draft: the fields.
        path: from `place`; the policy is called as it.
        over: whether it may replace an existing file.

    Raises:
        UserError: a field is not accepted, or the file exists and `over` is false.
    """
    policy = draft.policy(path.stem)
    text = policy_yaml(policy)
    parse(text, "this policy")  # what a reader of the file refuses is not written
    if path.exists() and not over:
        raise UserError(f"{path} exists already; give another name, or mark that it may be replaced")
    write_text(path, text)
    return policy
