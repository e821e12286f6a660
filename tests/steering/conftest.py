"""A tiny genuine CLIPModel with its tokenizer and image processor."""

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from safediffusion.steering.encoders import ClipEncoder

WORDS = ["a", "safe", "unsafe", "photo", "red", "blue", "dog", "cat", "calm", "harm", "of"]


def clip_tokenizer() -> CLIPTokenizer:
    letters = [chr(c) for c in range(97, 123)]
    tokens = letters + [letter + "</w>" for letter in letters]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
            tokens.append(parts[0])
    tokens = list(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))
    return CLIPTokenizer(
        vocab={t: i for i, t in enumerate(tokens)}, merges=list(dict.fromkeys(merges)), model_max_length=16
    )


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip")
    tokenizer = clip_tokenizer()
    torch.manual_seed(0)
    size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    text = dict(
        **size,
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = dict(**size, image_size=32, patch_size=8)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        path
    )
    return path


@pytest.fixture(scope="session")
def encoder(clip_folder):
    return ClipEncoder(clip_folder)
