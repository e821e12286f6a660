"""The minors rule, one function for prompts, captions, anchor phrases and categories alike."""

from safediffusion.prompts.minors.rule import sexualises_minors

__all__ = ["sexualises_minors"]
