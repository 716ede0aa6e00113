"""Tiny random models of every supported family, made from transformers configurations in milliseconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path

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


def rigged_judge(
    folder: str | Path, *, yes: str, no: str, chat_template: bool = True, context: int = 4096
) -> Path:
    """Save a judge that answers `yes` where its prompt holds a "!", "q" where it holds a "~", else `no`.

    Its weights are set by hand: attention averages over the prompt how many tokens are "!" or "~", and
    the head writes on from the last token, so that a first letter leads to its word.
    """
    tokenizer = tiny_tokenizer(chat_template=chat_template)
    width = VOCABULARY + 2  # a channel a token, and one each for "!" and "~"
    words = {**_LLAMA_WORDS, "hidden_size": width, "intermediate_size": 4, "num_hidden_layers": 1}
    words |= {
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "max_position_embeddings": context,
    }
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **words))
    for parameter in network.parameters():
        parameter.data.fill_(1.0 if parameter.dim() == 1 else 0.0)  # the norms stay as they are
    body, head = network.model, network.lm_head.weight.data
    body.embed_tokens.weight.data[:, :VOCABULARY] = torch.eye(VOCABULARY)
    attention = body.layers[0].self_attn
    first = {}
    for place, (mark, word) in enumerate((("!", yes), ("~", "q"))):
        attention.v_proj.weight.data[place, tokenizer.convert_tokens_to_ids(mark)] = 1
        attention.o_proj.weight.data[VOCABULARY + place, place] = 1
        first[tokenizer.convert_tokens_to_ids(word[0])] = VOCABULARY + place
    head[tokenizer.convert_tokens_to_ids(no[0]), :VOCABULARY] = 1e-3  # what stands without a mark
    for letter, channel in first.items():
        head[letter, channel] = 1e2
    for word in (yes, no, "q"):
        tokens = [*tokenizer.convert_tokens_to_ids(list(word)), tokenizer.eos_token_id]
        for token, following in itertools.pairwise(tokens):
            head[following, token] = 1e6
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
