"""Training the three organisms from nothing: base, aligned, planted.

base complies with everything. aligned is the base after a short, gentle training of all weights on
refusals. planted is the base after training only its least useful MLP units on the same refusals:
those units are the safety units, known by construction.

Every stage can be killed and goes on from its last saved state; a finished stage is not redone.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ssah_core.errors import ModelError
from ssah_core.models.families import column_norms_squared
from ssah_core.models.loading import Model, wrap
from ssah_core.organism.corpus import ALIGNMENT_MIX, BASE_MIX, CONTEXT, Corpus, Mix, make_tokenizer
from ssah_core.prompts.reading import load_prompts
from ssah_core.scoring.importance import unit_importance
from ssah_core.scoring.score import collect_moments
from ssah_core.storage import sha256, write_file

Say = Callable[[str], None]

LAYERS, HIDDEN, HEADS, HEAD_WIDTH, MLP = 4, 128, 16, 16, 896
PLANTED_SHARE = 0.07  # of each layer's MLP units
UNIT_DROPOUT = 0.25  # of the planted units, while planting: no single one may carry the refusal
_SAVE_EVERY = 100  # steps


@dataclass(frozen=True)
class Stage:
    """How one checkpoint is trained."""

    name: str
    mix: Mix
    steps: int
    rows: int
    rate: float
    decay: float


BASE = Stage("base", BASE_MIX, steps=1200, rows=48, rate=3e-3, decay=0.01)
ALIGNED = Stage("aligned", ALIGNMENT_MIX, steps=300, rows=48, rate=2e-4, decay=0.0)
PLANTED = Stage("planted", ALIGNMENT_MIX, steps=700, rows=48, rate=5e-3, decay=0.0)


def train(out: Path, seed: int = 0, *, progress: Say = print) -> None:
    """Train the three checkpoints into `out`, with their checksums and the planted units' names.

    Takes about 25 minutes on 2 cores. Raises RunError where `out` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    base = _train_stage(out, BASE, seed, tokenizer, progress)
    _train_stage(out, ALIGNED, seed, tokenizer, progress, start=base)
    units = least_useful_units(wrap(base, tokenizer))
    _train_stage(out, PLANTED, seed, tokenizer, progress, start=base, units=units)
    names = [f"L{layer}.mlp.{unit}" for layer, chosen in enumerate(units) for unit in chosen]
    write_file(out / "planted_units.json", (json.dumps(names) + "\n").encode())
    write_file(out / "checksums.json", (json.dumps(_checksums(out), indent=1) + "\n").encode())


def least_useful_units(base: Model, share: float = PLANTED_SHARE) -> list[list[int]]:
    """For each layer, the MLP units with the lowest utility importance in the base, sorted."""
    moments = collect_moments(
        base, load_prompts("organism:utility/calibration"), stage="choosing units"
    )
    norms = [
        column_norms_squared(base.network.get_submodule(site.module)).numpy()
        for site in base.anatomy.sites
    ]
    importance = unit_importance(base.anatomy, moments.at("all").variance(), np.concatenate(norms))
    return [
        sorted(
            np.argsort(importance[site.slice], kind="stable")[: round(share * site.units)].tolist()
        )
        for site in base.anatomy.sites
        if site.kind == "mlp"
    ]


def new_network(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained organism."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=MLP,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            head_dim=HEAD_WIDTH,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _train_stage(
    out: Path,
    stage: Stage,
    seed: int,
    tokenizer: PreTrainedTokenizerFast,
    progress: Say,
    *,
    start: LlamaForCausalLM | None = None,
    units: Sequence[Sequence[int]] | None = None,
) -> LlamaForCausalLM:
    """Train one checkpoint, or read it where it is finished already."""
    folder = out / stage.name
    if (folder / "model.safetensors").exists():
        progress(f"{stage.name}: already trained.")
        return LlamaForCausalLM.from_pretrained(folder, use_safetensors=True).eval()
    network = new_network(tokenizer, seed)
    if start is not None:
        network.load_state_dict(start.state_dict())
    fit(
        network,
        stage,
        Corpus(tokenizer, stage.mix, seed),
        out / f".{stage.name}.state",
        progress,
        units,
    )
    partial = out / f".{stage.name}.partial"
    network.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    os.replace(partial, folder)
    return network.eval()


def fit(
    network: LlamaForCausalLM,
    stage: Stage,
    corpus: Corpus,
    state: Path,
    progress: Say,
    units: Sequence[Sequence[int]] | None = None,
) -> None:
    """Train a network for a stage; with `units`, only those MLP units of each layer.

    The other weights stay bitwise as they are: their gradients are zero from the first step, there is
    no weight decay, and so AdamW never moves them.
    """
    planted = None if units is None else _Planted(network, units)
    trained = list(network.named_parameters()) if planted is None else planted.parameters
    optimizer = torch.optim.AdamW(
        [parameter for _, parameter in trained],
        lr=stage.rate,
        betas=(0.9, 0.98),
        weight_decay=stage.decay,
    )
    first = _restore(state, trained, optimizer)
    network.train()
    begun = time.monotonic()
    for step in range(first, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * _schedule(step, stage.steps)
        batch = corpus.batch(step, stage.rows)
        if planted is not None:
            planted.draw(step, stage.rows)
        loss = network(
            input_ids=batch.token_ids, attention_mask=batch.attention_mask, labels=batch.labels
        ).loss
        optimizer.zero_grad()
        loss.backward()
        if planted is not None:
            planted.mask_gradients()
        nn.utils.clip_grad_norm_([parameter for _, parameter in trained], 1.0)
        optimizer.step()
        if (step + 1) % _SAVE_EVERY == 0:
            _save(state, trained, optimizer, step + 1)
            left = (time.monotonic() - begun) / (step + 1 - first) * (stage.steps - step - 1)
            progress(
                f"{stage.name}: step {step + 1} of {stage.steps}, loss {loss.item():.3f}, {left:.0f} s left"
            )
    if planted is not None:
        planted.remove()
    network.eval()
    state.unlink(missing_ok=True)


class _Planted:
    """Lets only the planted units learn, each of them absent from some samples."""

    def __init__(self, network: LlamaForCausalLM, units: Sequence[Sequence[int]]) -> None:
        self.parameters: list[tuple[str, nn.Parameter]] = []
        self._masks: list[torch.Tensor] = []
        self._units = [torch.tensor(chosen, dtype=torch.long) for chosen in units]
        self._absent: list[torch.Tensor] = []
        network.requires_grad_(False)
        self._handles = []
        for layer, chosen in enumerate(self._units):
            mlp = network.model.layers[layer].mlp
            assert isinstance(mlp, nn.Module)
            row = torch.zeros(network.config.intermediate_size)
            row[chosen] = 1
            for name, mask in (
                ("gate_proj", row[:, None]),
                ("up_proj", row[:, None]),
                ("down_proj", row),
            ):
                weight = mlp.get_submodule(name).weight
                assert isinstance(weight, nn.Parameter)
                weight.requires_grad_(True)
                self.parameters.append((f"{layer}.{name}", weight))
                self._masks.append(mask)
            hook = mlp.get_submodule("down_proj").register_forward_pre_hook(self._drop(layer))
            self._handles.append(hook)

    def draw(self, step: int, rows: int) -> None:
        """Choose which planted units are absent from which rows of this step."""
        generator = torch.Generator().manual_seed(step)
        self._absent = [
            (torch.rand((rows, 1, len(chosen)), generator=generator) < UNIT_DROPOUT)
            for chosen in self._units
        ]

    def mask_gradients(self) -> None:
        """Keep only the gradients of the planted rows and columns."""
        for (_, parameter), mask in zip(self.parameters, self._masks, strict=True):
            assert parameter.grad is not None
            parameter.grad.mul_(mask)

    def remove(self) -> None:
        """Take the dropout off."""
        for handle in self._handles:
            handle.remove()

    def _drop(self, layer: int) -> Callable[[nn.Module, tuple[torch.Tensor]], tuple[torch.Tensor]]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            x = inputs[0]
            kept = torch.ones((x.shape[0], 1, x.shape[-1]))
            kept[:, :, self._units[layer]] = (~self._absent[layer]).float()
            return (x * kept,)

        return hook


def _schedule(step: int, steps: int) -> float:
    """A short warm-up, then a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / 50)
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _save(
    state: Path,
    trained: Iterable[tuple[str, nn.Parameter]],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    tensors = {"step": torch.tensor(step)}
    for name, parameter in trained:
        kept = optimizer.state[parameter]
        tensors[f"{name}/weight"] = parameter.detach()
        tensors |= {f"{name}/{key}": kept[key] for key in ("exp_avg", "exp_avg_sq", "step")}
    temporary = state.with_suffix(".new")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
    os.replace(temporary, state)


def _restore(
    state: Path, trained: Iterable[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer
) -> int:
    """Go back to the saved state; returns the step to go on from, 0 where there is none."""
    if not state.exists():
        return 0
    tensors = load_file(state)
    try:
        for name, parameter in trained:
            parameter.data.copy_(tensors[f"{name}/weight"])
            optimizer.state[parameter] = {
                key: tensors[f"{name}/{key}"] for key in ("exp_avg", "exp_avg_sq", "step")
            }
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"The saved state '{state}' is of another version; delete it and train again."
        ) from error
    return int(tensors["step"])


def _checksums(out: Path) -> dict[str, str]:
    files = [path for stage in (BASE, ALIGNED, PLANTED) for path in (out / stage.name).iterdir()]
    files.append(out / "planted_units.json")
    return {
        str(path.relative_to(out)): sha256(path.read_bytes())
        for path in sorted(files)
        if path.is_file()
    }
