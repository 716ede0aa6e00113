"""From a name to an open model: network, tokenizer, anatomy and taps, proven by a trial forward."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ssah_core.errors import ModelError
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.families import find_anatomy
from ssah_core.models.placement import choose_device, choose_dtype, too_large
from ssah_core.models.sources import Source, locate
from ssah_core.models.taps import Taps, probe

PLAIN_TEMPLATE_NOTICE = (
    "This model's tokenizer has no chat template, so a plain one (User: ... Assistant: ...) is used; "
    "replies may be worse than the model can do."
)


@dataclass(frozen=True, eq=False)
class Model:
    """An open model. `network` and `tokenizer` are transformers' own, untouched but for the taps."""

    name: str
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    taps: Taps
    fingerprint: str
    notices: tuple[str, ...]
    revision: str | None = None  # the commit of a hub model
    # Fast tokenizers raise "Already borrowed" when two threads use one.
    tokenizer_lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """A model of its own, whose taps answer to no instruction for this one; locks do not copy."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tokenizer_lock"}
        return Model(**copy.deepcopy(parts, memo))

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the embeddings."""
        weight = self.network.get_input_embeddings().weight
        assert isinstance(weight, torch.Tensor)
        return weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.network.dtype

    @property
    def context(self) -> int | None:
        """The longest input in tokens, or None where the architecture has no limit (BLOOM)."""
        config = self.network.config.get_text_config()
        return config.to_dict().get(config.attribute_map.get(_CONTEXT, _CONTEXT))

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some token ids, special tokens left out."""
        with self.tokenizer_lock:
            return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    @property
    def parameters(self) -> int:
        """How many weights the model has."""
        return self.network.num_parameters()

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of the model."""
        return {
            "name": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "architecture": type(self.network).__name__,
            "parameters": self.parameters,
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


_CONTEXT = "max_position_embeddings"


def load_model(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
) -> Model:
    """Open a decoder model by `organism:NAME`, folder or hub name.

    By default the device is cuda, then mps, then cpu, and the dtype bfloat16 on GPUs, float32 on the
    CPU; a model larger than one GPU's free memory is spread over all devices. Loads safetensors only
    and never runs code from the checkpoint.

    Raises ModelError with the remedy for anything that cannot be opened.
    """
    return open_source(locate(os.fspath(name), revision=revision), device=device, dtype=dtype)


def open_source(
    source: Source,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Model:
    """Open a model whose files `locate` has found; options and errors as `load_model`."""
    target = choose_device(device)
    chosen_dtype = choose_dtype(dtype, target)
    spread = device is None and too_large(source, target, chosen_dtype)
    options: dict[str, Any] = {"device_map": "auto"} if spread else {}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=source.config,
            dtype=chosen_dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _load_error(source, error) from error
    network, report = loaded
    notices = _check_weights(source, report)
    tokenizer = open_tokenizer(source)
    if not spread:
        network = network.to(target)
    return wrap(
        network.eval(),
        tokenizer,
        name=source.name,
        fingerprint=source.fingerprint(),
        notices=notices,
        revision=source.revision,
    )


def open_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The tokenizer among a model's files; raises ModelError where it is missing or damaged."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True
        )
    except (
        Exception
    ) as error:  # the files are anyone's, and transformers raises whatever comes of it
        raise ModelError(
            f"The tokenizer of '{source.name}' is missing or damaged ({_in_short(error)}); put its "
            "files (tokenizer.json, tokenizer_config.json) into the model's folder again."
        ) from error
    return tokenizer


def _check_weights(source: Source, report: Mapping[str, Any]) -> tuple[str, ...]:
    """Raise ModelError where weights are missing; returns what is to be said of the others."""
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"'{source.name}' lacks {len(missing)} of its weights (such as {missing[0]}), which would "
            "be random numbers; download or save it again."
        )
    surplus = sorted(report["unexpected_keys"])
    if not surplus:
        return ()
    return (
        f"{len(surplus)} weights of the files are not part of the model that config.json describes, "
        f"and are ignored (such as {surplus[0]}).",
    )


def wrap(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str = "in memory",
    fingerprint: str = "",
    notices: tuple[str, ...] = (),
    revision: str | None = None,
) -> Model:
    """Open a transformers model that is already in memory; the network itself gets the taps.

    Raises ModelError for unsupported families and for weights that are not finite.
    """
    check_finite(network, name)
    anatomy = find_anatomy(network)
    taps = Taps(network, anatomy)
    try:
        probe(network, taps, anatomy)
    except BaseException:
        taps.remove()
        raise
    if not tokenizer.chat_template:
        notices = (*notices, PLAIN_TEMPLATE_NOTICE)
    return Model(name, network, tokenizer, anatomy, taps, fingerprint, notices, revision)


def check_finite(network: PreTrainedModel, name: str) -> None:
    """Raise ModelError naming the first weight with NaN or infinity; offloaded weights are skipped."""
    for parameter_name, parameter in network.named_parameters():
        # A sum carries every NaN and infinity along, and allocates nothing.
        if parameter.is_meta:
            continue
        if not torch.isfinite(parameter.detach().sum(dtype=torch.float32)):
            raise ModelError(
                f"'{name}' has values in {parameter_name} that are not finite (NaN or infinity); the "
                "file is damaged or was saved after a failed training: get it again."
            )


def _load_error(source: Source, error: Exception) -> ModelError:
    reason = _in_short(error)
    if isinstance(error, PermissionError):
        return ModelError(
            f"The files of '{source.name}' may not be read; change their permissions."
        )
    if "ignore_mismatched_sizes" in str(error):
        return ModelError(
            f"The weights of '{source.name}' have other sizes than its config.json says; download or "
            "save both again, together."
        )
    if isinstance(error, SafetensorError):
        return ModelError(
            f"The weights of '{source.name}' are damaged or cut short ({reason}); download or save "
            "them again."
        )
    if isinstance(error, torch.OutOfMemoryError):
        return ModelError(
            f"'{source.name}' does not fit into memory; close other programs, or load it with "
            "dtype bfloat16."
        )
    return ModelError(
        f"'{source.name}' cannot be opened ({reason}); check that the folder holds a complete "
        "model, or download or save it again."
    )


def _in_short(error: Exception) -> str:
    """What an error of another library says, on one line."""
    said = " ".join(str(error).split())
    return said[:200] + ("..." if len(said) > 200 else "") if said else type(error).__name__
