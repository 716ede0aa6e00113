"""A model without its weights: what its configuration and its tokenizer alone can tell.

The network stands on torch's meta device, where tensors have a shape and no memory. Everything that
needs no numbers works as on the model itself: its anatomy, its context, how prompts become tokens.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ssah_core.errors import ModelError
from ssah_core.models.families import find_anatomy
from ssah_core.models.loading import Model, open_tokenizer
from ssah_core.models.placement import choose_device, choose_dtype
from ssah_core.models.sources import locate_outline
from ssah_core.models.taps import Taps


@dataclass(frozen=True, eq=False)
class Outline:
    """A model on the meta device, the device that it would run on, and what its cache takes.

    `fingerprint` is that of the weights where they are there, else None; `cache_bytes` is how much
    memory the keys and values of one token need.
    """

    model: Model
    device: torch.device
    cache_bytes: int
    fingerprint: str | None = None

    @property
    def config(self) -> PretrainedConfig:
        """The architecture's configuration."""
        return self.model.network.config

    @property
    def weight_bytes(self) -> int:
        """How much memory the weights need at the dtype that was chosen."""
        return self.model.parameters * self.model.dtype.itemsize

    @property
    def units(self) -> dict[str, int]:
        """How many units there are of each kind, and in all."""
        found: Counter[str] = Counter()
        for site in self.model.anatomy.sites:
            found[site.kind] += site.units
        return {"attn": found["attn"], "mlp": found["mlp"], "all": self.model.anatomy.units}


def open_outline(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
) -> Outline:
    """What can be known of a model before its weights are read; options and errors as `load_model`.

    The folder may lack its weights; of a hub model only configuration and tokenizer are downloaded.
    """
    target = choose_device(device)
    chosen_dtype = choose_dtype(dtype, target)
    source = locate_outline(os.fspath(name), revision=revision)
    return outline_of(
        source.config,
        open_tokenizer(source),
        name=source.name,
        device=target,
        dtype=chosen_dtype,
        fingerprint=source.fingerprint() if source.weight_files else None,
    )


def outline_of(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    fingerprint: str | None = None,
) -> Outline:
    """The outline of a configuration; raises ModelError where it is none that can be built."""
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=False
            ).eval()
        anatomy = find_anatomy(network)
        cache_bytes = _cache_bytes(network)
    except ModelError:
        raise
    except Exception as error:  # the numbers are anyone's, and torch raises whatever comes of them
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The config.json of '{name}' describes a model that cannot be built ({reason}); get it "
            "again, or choose another model."
        ) from error
    taps = Taps(network, anatomy)
    model = Model(name, network, tokenizer, anatomy, taps, fingerprint or "", ())
    return Outline(model, device, cache_bytes, fingerprint)


def _cache_bytes(network: PreTrainedModel) -> int:
    """What one token's keys and values take, by a forward that computes nothing."""
    token_ids = torch.zeros((1, 1), dtype=torch.long, device="meta")
    cache = DynamicCache(config=network.config.get_text_config(decoder=True))
    with torch.inference_mode():
        written = network(input_ids=token_ids, past_key_values=cache, use_cache=True)
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in written.past_key_values.layers)
