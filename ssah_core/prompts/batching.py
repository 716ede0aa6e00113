"""Batches of examples of like length, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ssah_core.prompts.rendering import Rendered


@dataclass(frozen=True)
class Batch:
    """Padded examples: `token_ids` and `attention_mask` are int64 [rows, tokens].

    `prompt_positions` and `response_positions` are int64 [n]: places in the flattened
    [rows * tokens] of the tokens of each kind, padding in neither. `rows` says which examples these
    are, by their place in the list that was batched.
    """

    rows: tuple[int, ...]
    token_ids: torch.Tensor
    attention_mask: torch.Tensor
    prompt_positions: torch.Tensor
    response_positions: torch.Tensor

    @property
    def tokens(self) -> int:
        """How many tokens count, without padding."""
        return len(self.prompt_positions) + len(self.response_positions)


def group_by_length(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Split examples into groups of like length whose padded size fits the budget.

    Longest first, so that memory runs short at the start or not at all. One example longer than the
    budget is a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and longest * (len(groups[-1]) + 1) <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def pad_batch(examples: Sequence[Rendered], rows: Sequence[int], device: torch.device) -> Batch:
    """Pad the chosen examples on the right: under causal attention no real token sees padding."""
    chosen = [examples[row] for row in rows]
    longest = max(len(example) for example in chosen)
    token_ids = torch.zeros((len(chosen), longest), dtype=torch.long)
    group = torch.zeros((len(chosen), longest), dtype=torch.int8)
    for place, example in enumerate(chosen):
        border, end = len(example.prompt), len(example)
        token_ids[place, :end] = torch.tensor(example.prompt + example.response)
        group[place, :border] = 1
        group[place, border:end] = 2
    flat = group.flatten()
    return Batch(
        rows=tuple(rows),
        token_ids=token_ids.to(device),
        attention_mask=(group > 0).long().to(device),
        prompt_positions=(flat == 1).nonzero().flatten().to(device),
        response_positions=(flat == 2).nonzero().flatten().to(device),
    )
