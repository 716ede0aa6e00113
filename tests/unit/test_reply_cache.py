"""The cache with room to grow holds what transformers' own would."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, LlamaConfig, MistralConfig

from ssah_core.models.reply_cache import reply_cache

CONFIG = LlamaConfig(num_hidden_layers=1, num_attention_heads=2, hidden_size=8)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(1, 40), st.sets(st.integers(0, 3), min_size=1).map(sorted)),
        min_size=1,
        max_size=8,
    )
)
def test_tokens_added_and_rows_taken_out_leave_what_plain_concatenation_leaves(steps):
    ours, plain = reply_cache(CONFIG), DynamicCache(config=CONFIG)
    generator, rows = torch.Generator().manual_seed(0), 4
    for step in steps:
        if isinstance(step, int):
            new = [torch.randn(rows, 2, step, 4, generator=generator) for _ in range(2)]
            for mine, theirs in zip(ours.update(*new, 0), plain.update(*new, 0), strict=True):
                assert torch.equal(mine, theirs)
        else:
            left = torch.tensor([place for place in step if place < rows] or [0])
            if ours.get_seq_length():
                rows = len(left)
            ours.batch_select_indices(left)
            plain.batch_select_indices(left)
        assert ours.get_seq_length() == plain.get_seq_length()


def test_layers_with_a_sliding_window_stay_transformers_own():
    config = MistralConfig(num_hidden_layers=2, sliding_window=8)
    kinds = [type(layer) for layer in DynamicCache(config=config).layers]
    assert [type(layer) for layer in reply_cache(config).layers] == kinds
