"""Tiny tokenizers and text encoders of the genuine classes, with random weights."""

from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

WORDS = ["a", "red", "blue", "square", "person", "at", "the", "beach", "sunbathing", "circle"]


def tiny_tokenizer() -> CLIPTokenizer:
    letters = [chr(c) for c in range(33, 127)]
    merges, tokens = [], letters + [c + "</w>" for c in letters]
    for word in WORDS:
        left = word[0] + ("</w>" if len(word) == 1 else "")
        for i, c in enumerate(word[1:], 2):
            right = c + ("</w>" if i == len(word) else "")
            merges.append((left, right))
            left += right
            tokens.append(left)
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=12)


def t5_tokenizer() -> T5Tokenizer:
    pieces = ["▁", *("▁" + word for word in WORDS), *(chr(c) for c in range(97, 123))]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -2.0) for piece in pieces)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=64)


def clip_config(projection_dim: int = 16) -> CLIPTextConfig:
    tokenizer = tiny_tokenizer()
    start, end = (tokenizer.convert_tokens_to_ids(t) for t in ("<|startoftext|>", "<|endoftext|>"))
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        projection_dim=projection_dim,
    )


def t5_encoder() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(t5_tokenizer()), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def qwen_tokenizer() -> Qwen2Tokenizer:
    """One token a letter, and a template of the same form as the published one."""
    vocab = {letter: i for i, letter in enumerate(["<|endoftext|>", *sorted(ByteLevel.alphabet())])}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    )
    return tokenizer


def qwen_config(layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(qwen_tokenizer()),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=layers,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=4,
        initializer_range=0.5,
    )


def gemma_tokenizer() -> GemmaTokenizer:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocab = {token: i for i, token in enumerate([*special, "▁", "\n", *map(chr, range(33, 127))])}
    return GemmaTokenizer(vocab=vocab, merges=[])


def gemma_encoder() -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(gemma_tokenizer()),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            initializer_range=0.5,
        )
    )
