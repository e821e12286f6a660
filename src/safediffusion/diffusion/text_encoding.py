"""What families share that read a prompt with a mask, or as a message to a language model (Qwen3)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Qwen3's chat format. A tokenizer's own template is a program of the model's author, and is never run.
MESSAGE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
NO_THOUGHTS = "<think>\n\n</think>\n\n"


def read_chat(tokenizer: Any, prompts: Sequence[str], length: int, thinking: bool) -> Any:
    """Token ids and attention mask, (n, length), of each prompt as a user's message; long prompts are cut.

    Args:
        tokenizer: Qwen's.
        prompts: n texts.
        length: tokens, padding included.
        thinking: whether the answer may begin with thoughts, as the family was trained.
    """
    texts = [MESSAGE.format(prompt) + ("" if thinking else NO_THOUGHTS) for prompt in prompts]
    return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")


def hidden_states(encoder: Any, read: Any, device: torch.device) -> tuple[Tensor, ...]:
    """A language model's states after each layer, (n, length, d); those of the embedding first.

    Args:
        encoder: of transformers, on the device.
        read: of `read_chat`.
        device: where the encoder runs.
    """
    return encoder(
        input_ids=read.input_ids.to(device),
        attention_mask=encoder_mask(read.attention_mask, device),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states


def encoder_mask(mask: Tensor, device: torch.device) -> Tensor:
    """A tokenizer's mask (n, length) for a text encoder on the device.

    transformers looks into such a mask, which the meta device does not allow; there it gets one for each
    pair of tokens, (n, 1, length, length), which is taken as it is.
    """
    if device.type != "meta":
        return mask.to(device)
    n, length = mask.shape
    return torch.empty(n, 1, length, length, dtype=torch.bool, device=device)
