"""The text encoder's states as a method changes them, for our sampler and diffusers' pipeline alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from safediffusion.baselines.network_calls import put
from safediffusion.diffusion.diffuser import Diffuser

# Takes token ids (n, length) and the encoder's output for them; returns states (n, length, d).
Change = Callable[[Tensor, Any], Tensor]


@contextmanager
def changing_text(diffuser: Diffuser, change: Change) -> Iterator[None]:
    """Inside, `change` makes the last hidden states of every text but those that it encodes itself."""
    encoder: Any = diffuser.pipeline.text_encoder
    plain, changing = encoder.forward, False

    def forward(input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal changing
        output = plain(input_ids, *args, **kwargs)
        if changing:
            return output
        changing = True
        try:
            states = output.last_hidden_state
            output.last_hidden_state = change(input_ids, output).to(states.dtype)
        finally:
            changing = False
        return output

    with put(encoder, "forward", forward):
        yield


def text_lengths(diffuser: Diffuser, ids: Tensor) -> list[int]:
    """Tokens of each text without those of start, end and padding; ids (n, length)."""
    ends = ids == diffuser.pipeline.tokenizer.eos_token_id
    return [int(place) - 1 for place in ends.int().argmax(-1)]
