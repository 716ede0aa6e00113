"""Keys and values of replies that are being written, with room to grow.

transformers' own layers copy all they hold for every token; in a batch of many short replies that is a
quarter of the time. Here a layer keeps spare room and writes the new token into it, so what is held is
copied once in 16 tokens. Sliding windows and other kinds of layers stay transformers' own.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

_SPARE = 16  # tokens of room beyond what is needed


class _RoomyLayer(DynamicLayer):
    """As its parent: `keys` and `values` are [rows, heads, tokens, width], here views of larger tensors."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._rooms = [_room_for(key_states, 0), _room_for(value_states, 0)]
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if end > self._rooms[0].shape[-2]:
            old = [room[..., :begin, :] for room in self._rooms]
            self._rooms = [_room_for(states, end) for states in (key_states, value_states)]
            for room, kept in zip(self._rooms, old, strict=True):
                room[..., :begin, :] = kept
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., begin:end, :] = states
        return self._show(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self.is_initialized:
            length = self.get_seq_length()
            self._rooms = [room[indices] for room in self._rooms]
            self._show(length)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.is_initialized:
            length = self.get_seq_length()
            self._rooms = [room.repeat_interleave(repeats, dim=0) for room in self._rooms]
            self._show(length)

    def _show(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (room[..., :length, :] for room in self._rooms)
        self.keys, self.values = keys, values
        return keys, values


def _room_for(states: torch.Tensor, tokens: int) -> torch.Tensor:
    rows, heads, _, width = states.shape
    return states.new_empty((rows, heads, tokens + _SPARE, width))


def reply_cache(config: PretrainedConfig) -> DynamicCache:
    """An empty cache for a model's configuration."""
    cache = DynamicCache(config=config)
    cache.layers = [
        _RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
