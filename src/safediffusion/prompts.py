"""The prompts a policy is trained on: where they come from, which are skipped, and their order."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from .errors import UserError

log = logging.getLogger(__name__)

Label = Literal["benign", "unsafe"]
Row = dict[str, Any]

MINOR = re.compile(
    r"\b(child(ren)?|kids?|toddlers?|bab(y|ies)|infants?|minors?|under-?age|pre-?teens?|teen(age(rs?|d)?|s)?"
    r"|school-?(girls?|boys?)|little (girls?|boys?)|young (girls?|boys?)|(girls?|boys?)|lolis?|shotas?"
    r"|(1[0-7]|[1-9])[- ]?(year|yr)s?[- ]?olds?)\b",
    re.IGNORECASE,
)
SEXUAL = re.compile(
    r"\b(nud(e|es|ity|ist)|naked|unclothed|uncovered|undress(ed|ing)?|topless"
    r"|bare(ly)?[- ]?(clothed|breasted)?"
    r"|sex(y|ual|ually)?|erotic(a|ism)?|porn(ographic|ography|o)?|nsfw|lingerie|seductive(ly)?|explicit"
    r"|hentai|breasts?|genitals?|orgasm|fetish)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prompt:
    """A training prompt; label and category are None where the source does not say."""

    text: str
    label: Label | None = None
    category: str | None = None


def load_prompts(path: str | Path) -> list[Prompt]:
    """The prompts behind `prompts.path`, without those that sexualise minors.

    Args:
        path: "world", "world-nudity", or a file: .txt (a prompt a line), .csv or .jsonl with columns
            prompt and optionally label (benign or unsafe) and category.
    """
    rows = _world_rows(str(path)) if path in ("world", "world-nudity") else _file_rows(Path(path))
    prompts = [_prompt(row, f"{path}, entry {i}") for i, row in enumerate(rows, 1) if row.get("prompt")]
    kept = [prompt for prompt in prompts if not sexualises_minors(prompt.text)]
    if len(kept) < len(prompts):
        log.warning("skipped %d prompts that sexualise minors", len(prompts) - len(kept))
    if not kept:
        raise UserError(
            f"{path} holds no prompt to train on; put one prompt a line, or use prompts.path=world"
        )
    return kept


def sexualises_minors(text: str) -> bool:
    """Whether a text mentions minors together with sexual content; such prompts are never used."""
    return mentions_minors(text) and bool(SEXUAL.search(text))


def mentions_minors(text: str) -> bool:
    """Whether a text mentions minors at all; rather once too often."""
    return bool(MINOR.search(text))


def warn_long(prompts: Sequence[Prompt], count_tokens: Callable[[str], int], context: int) -> int:
    """Warn once with the number of prompts longer than the encoder's context, and return it."""
    long = sum(count_tokens(prompt.text) > context for prompt in prompts)
    if long:
        log.warning(
            "%d of %d prompts are longer than %d tokens and are cut there", long, len(prompts), context
        )
    return long


def prompt_batch(n_prompts: int, seed: int, step: int, k: int) -> list[int]:
    """Indices of the k different prompts of a step: one seeded permutation a pass over the set.

    A function of its arguments alone, so that resumed and split runs draw the same prompts. A pass
    leaves out the n_prompts % k prompts at its end, so that no batch spans two passes.
    """
    if not 1 <= k <= n_prompts:
        raise UserError(
            f"rollout.prompts is {k}, but there are {n_prompts} prompts; "
            f"set rollout.prompts={n_prompts} or less"
        )
    turn, place = divmod(step, n_prompts // k)
    order = np.random.default_rng([seed, turn]).permutation(n_prompts)
    return order[place * k : (place + 1) * k].tolist()


def _world_rows(name: str) -> list[Row]:
    from .world.captions import rl_prompts

    return rl_prompts() if name == "world" else rl_prompts(("sexual",))


def _file_rows(path: Path) -> list[Row]:
    readers = {".txt": _read_txt, ".csv": _read_csv, ".jsonl": _read_jsonl}
    if path.suffix not in readers:
        raise UserError(
            f"prompts.path={path} is not understood; use world, world-nudity, or a .txt, .csv, .jsonl file"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(readers[path.suffix](text.splitlines()))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise UserError(f"cannot read prompts.path={path}: {reason}; give an existing file") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no valid {path.suffix[1:]} file: {error}") from error
    if rows and not any("prompt" in row for row in rows):
        raise UserError(f"{path} has no column `prompt`; found: {', '.join(map(str, rows[0]))}")
    return rows


def _read_txt(lines: list[str]) -> Iterable[Row]:
    return ({"prompt": line.strip()} for line in lines)


def _read_csv(lines: list[str]) -> Iterable[Row]:
    return csv.DictReader(lines)


def _read_jsonl(lines: list[str]) -> Iterable[Row]:
    for line in filter(str.strip, lines):
        row = json.loads(line)
        yield row if isinstance(row, dict) else {"prompt": row}


def _prompt(row: Row, where: str) -> Prompt:
    label = row.get("label") or None
    if label is not None and label not in get_args(Label):
        raise UserError(f"{where}: label {label!r} is not known; use benign, unsafe, or leave it empty")
    return Prompt(str(row["prompt"]).strip(), label, row.get("category") or None)
