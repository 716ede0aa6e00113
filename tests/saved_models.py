"""Saved tiny models to open, and what it is to be refused: what the tests of opening models share."""

from pathlib import Path

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core import load_model
from ssah_core.errors import ModelError


def saved(
    folder: Path, family: str = "llama", *, seed: int = 0, chat_template: bool = True
) -> Path:
    tiny_network(family, seed).save_pretrained(folder)
    tiny_tokenizer(chat_template=chat_template).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "llama")


def refused(name, match: str, **options) -> str:
    with pytest.raises(ModelError, match=match) as caught:
        load_model(str(name), **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)
