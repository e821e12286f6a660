"""CLIP's tokenizer, for checkpoints that hold weights alone. merges.txt is OpenAI's, see LICENSE there."""

from functools import cache
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49406, 49407


def clip_tokenizer(pad: str = END) -> CLIPTokenizer:
    """The tokenizer of CLIP and of OpenCLIP, 77 tokens long.

    Args:
        pad: what fills a short text: the end in OpenAI's models, "!" (token 0) in OpenCLIP's.
    """
    vocab, merges = _tables()
    made: Any = CLIPTokenizer  # takes pairs, whatever its annotation says
    return made(
        vocab={token: i for i, token in enumerate(vocab)}, merges=merges, model_max_length=77, pad_token=pad
    )


@cache
def _tables() -> tuple[list[str], list[tuple[str, str]]]:
    """All tokens in the order of their ids, and the merges of byte pairs (Radford et al., 2019)."""
    text = Path(__file__).with_name("merges.txt").read_text(encoding="utf-8")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in text.splitlines())]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves
    others = len(set(range(256)).difference(shown))
    letters = [*map(chr, shown), *(chr(256 + i) for i in range(others))]
    ends = [letter + "</w>" for letter in letters]
    return [*letters, *ends, *(left + right for left, right in merges), START, END], merges
