"""The slot: one model in memory, freed before the next is loaded, and never under a reader."""

import threading
import time
import weakref
from pathlib import Path

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core import Ablation, generate
from ssah_core.errors import ModelError
from ssah_core.models import slot as slots
from ssah_core.models.slot import Slot


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    home = tmp_path_factory.mktemp("models")
    for seed, family in enumerate(("llama", "gpt2")):
        tiny_network(family, seed).save_pretrained(home / family)
        tiny_tokenizer().save_pretrained(home / family)
    return [str(home / "llama"), str(home / "gpt2")]


@pytest.fixture
def slot(folders) -> Slot:
    opened = Slot()
    opened.open(folders[0])
    return opened


def test_an_empty_slot_has_no_model_to_lend():
    slot = Slot()
    assert slot.name is None
    with pytest.raises(ModelError, match="No model is open just now; wait a moment, or open one"):
        slot.lease().__enter__()


def test_the_open_model_is_lent(slot, folders):
    assert slot.name == folders[0]
    with slot.lease() as one, slot.lease() as other:
        assert one is other
        assert one.name == folders[0]


def test_the_old_model_is_freed_before_the_new_one_is_loaded(slot, folders, monkeypatch):
    with slot.lease() as model:
        # Used as the app uses it: nothing of a finished or abandoned reply may keep it alive.
        cut = Ablation.units(model.anatomy, ["L0.mlp.1"])
        list(generate(model, ["hello"], [cut], max_new_tokens=3))
        abandoned = generate(model, ["hello"], [cut], max_new_tokens=50)
        next(abandoned)
        abandoned.close()
        old = [weakref.ref(model), weakref.ref(model.network), weakref.ref(model.tokenizer)]
        weight = weakref.ref(model.network.lm_head.weight)
        del model, abandoned
    seen = []
    real = slots.open_source

    def watch(source, **options):
        seen.append([reference() for reference in (*old, weight)])
        return real(source, **options)

    monkeypatch.setattr(slots, "open_source", watch)
    slot.open(folders[1])
    assert seen == [[None] * 4]
    assert slot.name == folders[1]


def test_opening_the_open_model_again_does_nothing(slot, folders):
    with slot.lease() as before:
        slot.open(folders[0])
        with slot.lease() as after:
            assert after is before


@pytest.mark.parametrize("name", ["no-such-model", "organism:wicked"])
def test_a_wrong_name_keeps_the_old_model(slot, folders, name):
    with slot.lease() as before:
        pass
    with pytest.raises(ModelError):
        slot.open(name)
    with slot.lease() as after:
        assert after is before


def test_a_model_that_fails_to_load_leaves_a_slot_that_opens_the_next(slot, folders, tmp_path):
    for file in Path(folders[0]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="damaged"):
        slot.open(str(tmp_path))
    assert slot.name is None
    slot.open(folders[1])
    assert slot.name == folders[1]


def test_a_change_of_model_waits_for_the_leases_to_end(slot, folders):
    order = []

    def change() -> None:
        slot.open(folders[1])
        order.append("opened")

    changer = threading.Thread(target=change)
    with slot.lease() as model:
        changer.start()
        while not slot._changing:
            time.sleep(0.01)
        assert len(list(generate(model, ["hello"], max_new_tokens=3))) == 3
        # Nobody new gets the model that is about to go.
        with pytest.raises(ModelError, match="No model is open just now"):
            slot.lease().__enter__()
        with pytest.raises(ModelError, match="Another model is being opened just now"):
            slot.open(folders[0])
        order.append("lease over")
        del model
    changer.join(timeout=30)
    assert order == ["lease over", "opened"]
    assert slot.name == folders[1]


def test_a_reply_that_runs_on_keeps_its_model_and_the_change_is_refused(slot, folders):
    with slot.lease() as model:
        start = time.monotonic()
        with pytest.raises(ModelError, match="Replies are still running on the open model; stop"):
            slot.open(folders[1], timeout=0.2)
        assert time.monotonic() - start > 0.1
        assert slot.name == folders[0]
        with slot.lease() as again:
            assert again is model
    slot.open(folders[1], timeout=0.2)
    assert slot.name == folders[1]


def test_a_lease_ends_though_its_reader_raised(slot, folders):
    with pytest.raises(ZeroDivisionError), slot.lease():
        raise ZeroDivisionError
    slot.open(folders[1], timeout=0.2)
    assert slot.name == folders[1]


def test_many_threads_lease_and_change_without_a_mixed_up_model(slot, folders):
    wrong, served = [], []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                with slot.lease() as model:
                    kind = model.network.config.model_type
                    (served if model.name.endswith(kind) else wrong).append(kind)
                    time.sleep(0.005)
            except ModelError:
                time.sleep(0.005)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(4):
        slot.open(folders[(turn + 1) % 2])
        before = len(served)
        while len(served) < before + 4 and not wrong:
            time.sleep(0.005)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert set(served) == {"llama", "gpt2"}
