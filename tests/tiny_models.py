"""Tiny random models of every supported family, made from transformers configurations in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from ssah_core.models.loading import Model, wrap

HIDDEN, LAYERS, HEADS, MLP, CONTEXT = 32, 2, 4, 48, 256

_CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<end>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_tokenizer(*, chat_template: bool = True) -> PreTrainedTokenizerFast:
    """Every byte is a token of its own; `<pad>`, `<end>` and the speakers are special."""
    special = ["<pad>", "<end>", "<user>", "<assistant>", "<system>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        additional_special_tokens=special[2:],
    )
    if chat_template:
        fast.chat_template = _CHAT_TEMPLATE
    return fast


VOCABULARY = len(tiny_tokenizer())

_LLAMA_WORDS = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": MLP,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_NEOX_WORDS = {
    k: v for k, v in _LLAMA_WORDS.items() if k not in ("num_key_value_heads", "head_dim")
}
_GPT_WORDS = {
    "vocab_size": VOCABULARY,
    "n_embd": HIDDEN,
    "n_inner": MLP,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": CONTEXT,
    "n_ctx": CONTEXT,
    "rotary_dim": 4,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_OPT_WORDS = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "word_embed_proj_dim": HIDDEN,
    "ffn_dim": MLP,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_BLOOM_WORDS = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_GEMMA_WORDS = {**_LLAMA_WORDS, "sliding_window": 64}

CONFIGS: dict[str, dict] = {
    **dict.fromkeys(
        (
            "llama", "mistral", "ministral", "qwen2", "qwen3", "gemma", "olmo", "olmo2", "olmo3",
            "cohere", "cohere2", "granite", "nemotron", "glm", "glm4", "smollm3", "stablelm",
            "phi3", "starcoder2",
        ),
        _LLAMA_WORDS,
    ),
    "gemma2": _GEMMA_WORDS,
    "gemma3_text": _GEMMA_WORDS,
    "phi": {**_NEOX_WORDS, "num_key_value_heads": HEADS},
    "gpt_neox": _NEOX_WORDS,
    "bloom": _BLOOM_WORDS,
    "gpt2": {k: v for k, v in _GPT_WORDS.items() if k not in ("rotary_dim", "n_ctx")},
    "gpt_bigcode": {k: v for k, v in _GPT_WORDS.items() if k not in ("rotary_dim", "n_ctx")},
    "gptj": _GPT_WORDS,
    "codegen": _GPT_WORDS,
    "opt": _OPT_WORDS,
}  # fmt: skip


def tiny_network(family: str, seed: int = 0) -> PreTrainedModel:
    """A random network of a family, float32 on the CPU, ready for inference."""
    torch.manual_seed(seed)
    words = dict(CONFIGS[family])
    if family == "codegen":  # its attention splits heads over 4 cores of the original hardware
        words["n_head"] = HEADS
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **words))
    with torch.no_grad():  # large enough weights that an ablation moves the output
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return network.eval()


@cache
def tiny_model(family: str = "llama", seed: int = 0) -> Model:
    """A tiny model that tests share; they must not change it."""
    return wrap(
        tiny_network(family, seed),
        tiny_tokenizer(),
        name=f"tiny {family}",
        fingerprint=f"{family}{seed}",
    )


def fresh_model(
    family: str = "llama", change: Callable[[PreTrainedModel], None] | None = None
) -> Model:
    """A tiny model of one's own, optionally changed before it is opened."""
    network = tiny_network(family)
    if change is not None:
        change(network)
    return wrap(network, tiny_tokenizer(), name=f"tiny {family}", fingerprint=family)
