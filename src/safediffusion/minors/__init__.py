"""The minors rule, one function for prompts, captions, anchor phrases and categories alike."""

from .rule import sexualises_minors

__all__ = ["sexualises_minors"]
