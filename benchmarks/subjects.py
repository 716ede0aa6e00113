"""The models and prompts that are measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ssah_core import Model, PromptSet, load_model, load_prompts
from ssah_core.models.loading import wrap
from ssah_core.prompts.reading import Prompt


@dataclass(frozen=True)
class Size:
    """How much to measure: the full benchmark, or a smoke test that proves it still runs."""

    layers: int
    hidden: int
    prompts: int
    rounds: int
    reply_tokens: int


FULL = Size(layers=12, hidden=768, prompts=64, rounds=7, reply_tokens=48)
SMOKE = Size(layers=2, hidden=64, prompts=8, rounds=2, reply_tokens=4)


def random_llama(size: Size, device: str) -> Model:
    """A random Llama of the size; FULL has 98 million parameters. It speaks the organism's tokens."""
    organism = load_model("organism:planted", device="cpu")
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8192,
            hidden_size=size.hidden,
            intermediate_size=size.hidden * 8 // 3,
            num_hidden_layers=size.layers,
            num_attention_heads=size.hidden // 64,
            max_position_embeddings=2048,
            eos_token_id=8191,
            pad_token_id=organism.tokenizer.pad_token_id,
        )
    )
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    return wrap(network.to(device, dtype).eval(), organism.tokenizer, name=f"{size.layers} layers")


def long_prompts(count: int) -> PromptSet:
    """Prompts of about 150 tokens, as long as real ones, made from the organism's sentences."""
    questions = load_prompts("organism:utility/calibration").prompts
    prompts = []
    for number in range(count):
        part = [questions[(number * 7 + k) % len(questions)] for k in range(9)]
        text = " ".join(prompt.text for prompt in part)
        prompts.append(Prompt(text, " ".join(prompt.response or "" for prompt in part[:3])))
    return PromptSet("long", tuple(prompts), ())
