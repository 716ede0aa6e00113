"""Prompts and responses as rows of token ids and labels; only the response's tokens have a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from ssah_core.errors import PromptError
from ssah_core.models.loading import Model
from ssah_core.prompts.batching import pad_batch
from ssah_core.prompts.fitting import fitting
from ssah_core.prompts.reading import PromptSet
from ssah_core.prompts.rendering import Rendered, render_example

IGNORED = -100  # the label of a token without a loss, in torch and transformers


class Examples(Dataset[Rendered]):
    """Rendered examples, one a row."""

    def __init__(self, rows: Sequence[Rendered]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Rendered:
        return self._rows[place]


def learnable(model: Model, prompts: PromptSet, *, skip_too_long: bool = False) -> PromptSet:
    """The set, once every prompt has a response and fits the model's context.

    With `skip_too_long`, examples that do not fit are left out and a notice says so. Raises PromptError
    where a prompt has no response, an example is too long, or the set is empty.
    """
    without = [p for p in prompts.prompts if p.response is None]
    if without:
        raise PromptError(
            f"{len(without)} of the {len(prompts)} prompts of '{prompts.name}' have no response to learn "
            f"(such as '{without[0].text[:60]}'); give a file with responses."
        )
    return fitting(model, prompts, reply_tokens=0, skip_too_long=skip_too_long)


def render_set(model: Model, prompts: PromptSet) -> Examples:
    """Every prompt of a `learnable` set with its response, in the model's chat format."""
    rows = [render_example(model, p.text, p.response or "") for p in prompts.prompts]
    return Examples(rows)


def collate(rows: Sequence[Rendered]) -> dict[str, Any]:
    """A padded batch: `input_ids`, `attention_mask` and `labels`, int64 [rows, tokens] each."""
    batch = pad_batch(rows, range(len(rows)), torch.device("cpu"))
    labels = torch.full_like(batch.token_ids, IGNORED)
    where = batch.response_positions
    labels.view(-1)[where] = batch.token_ids.view(-1)[where]
    return {
        "input_ids": batch.token_ids,
        "attention_mask": batch.attention_mask,
        "labels": labels,
    }
