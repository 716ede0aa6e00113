"""The models and prompts that are measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ssah_core import Ablation, Model, PromptSet, load_model, load_prompts
from ssah_core.models.anatomy import Anatomy, Site
from ssah_core.models.loading import wrap
from ssah_core.prompts.reading import Prompt
from ssah_core.scoring.moments import Moments
from ssah_core.scoring.scores import Scores, TokenMoments


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


def large_scores(size: Size) -> Scores:
    """Made-up scores of a model as large as Llama-2-7B (FULL): 32 layers of 32 heads and 11,008 channels."""
    layers, heads, width, channels = (32, 32, 128, 11_008) if size is FULL else (2, 4, 8, 600)
    sites, offset = [], 0
    for layer in range(layers):
        sites.append(Site(layer, "attn", f"{layer}.o", heads, width, offset))
        sites.append(Site(layer, "mlp", f"{layer}.down", channels, 1, offset + heads))
        offset += heads + channels
    anatomy = Anatomy(tuple(sites))
    generator = np.random.default_rng(0)

    def moments() -> TokenMoments:
        parts = [
            Moments(5, np.zeros(anatomy.channels), generator.lognormal(size=anatomy.channels))
            for _ in range(2)
        ]
        return TokenMoments(*parts)

    nothing = PromptSet("made up", (Prompt("a", "b"),))
    ones = np.ones(anatomy.channels)
    return Scores("made up", "", anatomy, ones, moments(), moments(), nothing, nothing)


@contextmanager
def edited_weights(model: Model, cut: Ablation) -> Iterator[None]:
    """The reference that others do: the columns of the ablated units set to zero, then put back."""
    kept = []
    for site in model.anatomy.sites:
        weight = model.network.get_submodule(site.module).weight
        changed = np.repeat(cut.changed[site.slice], site.width)
        kept.append((weight, weight.detach().clone()))
        with torch.no_grad():
            weight[:, torch.from_numpy(changed).to(weight.device)] = 0
    try:
        yield
    finally:
        for weight, old in kept:
            with torch.no_grad():
                weight.copy_(old)


def long_prompts(count: int) -> PromptSet:
    """Prompts of about 150 tokens, as long as real ones, made from the organism's sentences."""
    questions = load_prompts("organism:utility/calibration").prompts
    prompts = []
    for number in range(count):
        part = [questions[(number * 7 + k) % len(questions)] for k in range(9)]
        text = " ".join(prompt.text for prompt in part)
        prompts.append(Prompt(text, " ".join(prompt.response or "" for prompt in part[:3])))
    return PromptSet("long", tuple(prompts), ())
