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

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ssah_core.errors import ModelError, OptionError, RunError
from ssah_core.models.loading import wrap
from ssah_core.organism.corpus import (
    ALIGNMENT_MIX,
    BASE_MIX,
    IGNORED,
    PLANTING_MIX,
    Corpus,
    Mix,
    Samples,
)
from ssah_core.organism.planting import (
    Planting,
    UnitDropout,
    dropout_everywhere,
    least_useful_units,
)
from ssah_core.organism.tokenizer import CONTEXT, make_tokenizer
from ssah_core.storage import check_writable, sha256, write_file

Say = Callable[[str], None]

LAYERS, HIDDEN, HEADS, HEAD_WIDTH, MLP = 4, 128, 16, 16, 896
PLANTED_SHARE = 0.03  # of each layer's MLP units
_SAVE_EVERY = 100  # steps
_WARM_UP = 50  # steps


@dataclass(frozen=True)
class Stage:
    """How one checkpoint is trained; `dropout` is the mean share of the trained units that a row misses."""

    name: str
    mix: Mix
    steps: int
    rows: int
    rate: float
    decay: float
    dropout: float = 0.0
    silence: float = 0.0  # weight of the planted units' noise in the loss


BASE = Stage("base", BASE_MIX, steps=1800, rows=48, rate=3e-3, decay=0.01, dropout=0.1)
ALIGNED = Stage("aligned", ALIGNMENT_MIX, steps=300, rows=48, rate=2e-4, decay=0.0)
PLANTED = Stage(
    "planted", PLANTING_MIX, steps=1100, rows=48, rate=7e-3, decay=0.0, dropout=0.12, silence=0.006
)
STAGES = (BASE, ALIGNED, PLANTED)


def train(out: Path, seed: int = 0, *, progress: Say = print) -> None:
    """Train the three checkpoints into `out`, with their checksums and the planted units' names.

    Takes about 20 minutes on 2 cores. Raises RunError where `out` cannot be written or holds something
    else, ModelError where it holds the saved state of another version.
    """
    _claim(out, seed)
    tokenizer = make_tokenizer()
    base = _finished(out, BASE, seed, tokenizer, progress)
    _finished(out, ALIGNED, seed, tokenizer, progress, start=base)
    units = least_useful_units(wrap(base, tokenizer), PLANTED_SHARE)
    _finished(out, PLANTED, seed, tokenizer, progress, start=base, units=units)
    names = sorted(f"L{layer}.mlp.{unit}" for layer, chosen in enumerate(units) for unit in chosen)
    write_file(out / "planted_units.json", (json.dumps(names) + "\n").encode())
    write_file(out / "checksums.json", (json.dumps(_checksums(out), indent=1) + "\n").encode())


def _claim(out: Path, seed: int) -> None:
    """Make the folder this training's own, or find that it is already."""
    if not 0 <= seed < 2**63:
        raise OptionError(f"The seed is {seed}; give a whole number from 0 to 2**63 - 1.")
    check_writable(out)
    note = out / "training.json"
    if note.is_file():
        if note.read_text("utf-8") != _note(seed):
            raise RunError(
                f"'{out}' holds a training with another seed; choose another folder, or that seed."
            )
        return
    if out.exists() and any(out.iterdir()):
        raise RunError(f"'{out}' holds other files; choose a new folder for the training.")
    out.mkdir(parents=True, exist_ok=True)
    write_file(note, _note(seed).encode())


def _note(seed: int) -> str:
    return json.dumps({"seed": seed}) + "\n"


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


def _finished(
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
    folder, state = out / stage.name, out / f".{stage.name}.state"
    if not folder.exists():
        network = new_network(tokenizer, seed)
        if start is not None:
            network.load_state_dict(start.state_dict())
        fit(network, stage, Corpus(tokenizer, stage.mix, seed), state, progress, units)
        partial = out / f".{stage.name}.partial"
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        os.replace(partial, folder)
        state.unlink(missing_ok=True)
    progress(f"{stage.name}: finished.")
    return LlamaForCausalLM.from_pretrained(folder, use_safetensors=True).eval()


def fit(
    network: LlamaForCausalLM,
    stage: Stage,
    corpus: Corpus,
    state: Path,
    progress: Say,
    units: Sequence[Sequence[int]] | None = None,
) -> None:
    """Train a network for a stage; with `units`, only those MLP units of each layer.

    Goes on from `state` where it exists, and leaves the last state there.
    """
    planting = None if units is None else Planting(network, units, stage.dropout)
    trained = list(network.named_parameters()) if planting is None else planting.parameters
    dropout = dropout_everywhere(network, stage.dropout) if planting is None else planting.dropout
    optimizer = torch.optim.AdamW(
        [parameter for _, parameter in trained],
        lr=stage.rate,
        betas=(0.9, 0.98),
        weight_decay=stage.decay,
    )
    first = _restore(state, trained, optimizer)
    network.train()
    begun = time.monotonic()
    with dropout.dropping():
        for step in range(first, stage.steps):
            for group in optimizer.param_groups:
                group["lr"] = stage.rate * _schedule(step, stage.steps)
            optimizer.zero_grad()
            dropout_seed = torch.Generator().manual_seed(step)
            batch = corpus.batch(step, stage.rows)
            loss = _backward(network, batch, stage, dropout, dropout_seed, planting)
            if planting is not None:
                planting.mask_gradients()
            nn.utils.clip_grad_norm_([parameter for _, parameter in trained], 1.0)
            optimizer.step()
            if (step + 1) % _SAVE_EVERY == 0:
                _save(state, trained, optimizer, step + 1)
                left = (time.monotonic() - begun) / (step + 1 - first) * (stage.steps - step - 1)
                done = f"{stage.name}: step {step + 1} of {stage.steps}"
                progress(f"{done}, loss {loss:.3f}, {left:.0f} s left")
    network.eval()


def _backward(
    network: LlamaForCausalLM,
    pieces: Sequence[Samples],
    stage: Stage,
    dropout: UnitDropout,
    generator: torch.Generator,
    planting: Planting | None,
) -> float:
    """Add up the gradients of one batch's mean loss per token, piece by piece; returns that loss."""
    counted = sum(int((piece.labels[:, 1:] != IGNORED).sum()) for piece in pieces)
    total = 0.0
    for piece in pieces:
        dropout.draw(generator, len(piece.token_ids))
        hidden = network.model(
            input_ids=piece.token_ids, attention_mask=piece.attention_mask, use_cache=False
        ).last_hidden_state
        # The vocabulary is the widest product: only for the tokens that have a loss.
        targets = piece.labels[:, 1:]
        predicted = network.lm_head(hidden[:, :-1][targets != IGNORED])
        loss = (
            nn.functional.cross_entropy(predicted, targets[targets != IGNORED], reduction="sum")
            / counted
        )
        total += loss.item()
        if planting is not None:
            loss = loss + stage.silence * planting.noise(piece.quiet) / len(pieces)
        loss.backward()
    return total


def _schedule(step: int, steps: int) -> float:
    """A short warm-up, then a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / _WARM_UP)
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
    files = [path for stage in STAGES for path in (out / stage.name).iterdir()]
    files.append(out / "planted_units.json")
    return {
        str(path.relative_to(out)): sha256(path.read_bytes())
        for path in sorted(files)
        if path.is_file()
    }
