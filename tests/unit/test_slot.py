"""The slot: one model in memory, freed before the next is loaded, and never under a reader."""

import threading
import time
import weakref
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core import Ablation, generate
from ssah_core.errors import ModelError
from ssah_core.models import placement
from ssah_core.models import slot as slots
from ssah_core.models.slot import Slot
from ssah_core.models.sources import locate


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


# A companion


@pytest.fixture(scope="module")
def third(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("third") / "neox"
    tiny_network("gpt_neox").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def pair(slot, folders) -> Slot:
    slot.open_beside(folders[1])
    return slot


def pair_names(slot: Slot) -> list[str]:
    with slot.lease_pair() as models:
        return [model.name for model in models]


def test_a_model_alone_has_no_companion_to_lend(slot):
    assert slot.companion_name is None
    with pytest.raises(ModelError, match="No model is open beside this one just now"):
        slot.lease_pair().__enter__()


def test_a_companion_is_lent_together_with_the_model(pair, folders):
    assert (pair.name, pair.companion_name) == tuple(folders)
    with pair.lease() as model, pair.lease_pair() as (one, other):
        assert one is model
        assert other.name == folders[1]
        for each in (one, other):
            assert len(list(generate(each, ["hello"], max_new_tokens=3))) == 3


def test_the_companion_that_is_open_is_not_opened_again(pair, folders):
    with pair.lease_pair() as before:
        pair.open_beside(folders[1], timeout=0.1)
        with pair.lease_pair() as after:
            assert after == before


def test_a_companion_is_another_model_and_needs_one_to_stand_beside(pair, folders):
    for empty_or_same in (Slot(), pair):
        with pytest.raises(ModelError, match="is another model than the one that is open"):
            empty_or_same.open_beside(folders[0])


def test_another_companion_is_loaded_after_the_old_one_is_freed(pair, folders, third, monkeypatch):
    with pair.lease_pair() as models:
        weight = weakref.ref(models[1].network.lm_head.weight)
        del models
    seen = []
    real = slots.open_source

    def watch(source, **options):
        seen.append(weight())
        return real(source, **options)

    monkeypatch.setattr(slots, "open_source", watch)
    pair.open_beside(third)
    assert seen == [None]
    assert pair_names(pair) == [folders[0], third]


def test_a_change_of_model_frees_the_companion_before_it_loads(pair, third, monkeypatch):
    with pair.lease_pair() as models:
        weights = [weakref.ref(model.network.lm_head.weight) for model in models]
        del models
    seen = []
    real = slots.open_source

    def watch(source, **options):
        seen.append([weight() for weight in weights])
        return real(source, **options)

    monkeypatch.setattr(slots, "open_source", watch)
    pair.open(third)
    assert seen == [[None, None]]
    assert (pair.name, pair.companion_name) == (third, None)


def test_a_closed_companion_is_freed_and_the_model_stays(pair, folders):
    with pair.lease_pair() as models:
        weight = weakref.ref(models[1].network.lm_head.weight)
        del models
    pair.close_beside()
    assert weight() is None
    assert (pair.name, pair.companion_name) == (folders[0], None)
    pair.close_beside()


def test_a_companion_that_does_not_fit_is_refused_with_what_it_needs_and_what_is_free(
    pair, folders, third, monkeypatch
):
    monkeypatch.setattr(placement, "bytes_needed", lambda source, dtype: 3.4e9)
    monkeypatch.setattr(placement, "bytes_free", lambda device: 2 * 10**9)
    with pytest.raises(ModelError, match=r"needs 4.0 GB of memory.* 2.0 GB are free; close other"):
        pair.open_beside(third)
    assert pair_names(pair) == folders


def test_the_room_of_the_old_companion_counts_for_the_new_one(pair, folders, third, monkeypatch):
    needed = placement.bytes_needed(locate(third), torch.float32)
    with pair.lease_pair() as (_, other):
        own = other.network.get_memory_footprint()
    monkeypatch.setattr(placement, "bytes_free", lambda device: 1.3 * needed - own)
    pair.open_beside(third)
    assert pair_names(pair) == [folders[0], third]
    pair.close_beside()
    with pytest.raises(ModelError, match="are free; close other programs"):
        pair.open_beside(folders[1])


def test_a_companion_takes_the_memory_of_its_weights_as_the_device_holds_them(folders, tmp_path):
    tiny_network("llama").bfloat16().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    half, whole = locate(str(tmp_path)), locate(folders[0])
    assert half.weight_bytes < 0.7 * whole.weight_bytes
    for dtype in (torch.float32, torch.bfloat16):
        sizes = [placement.bytes_needed(source, dtype) for source in (half, whole)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


@pytest.mark.parametrize("name", ["no-such-model", "organism:wicked"])
def test_a_wrong_name_keeps_the_old_companion(pair, folders, name):
    with pytest.raises(ModelError):
        pair.open_beside(name)
    assert pair_names(pair) == folders


def test_replies_of_the_model_alone_hold_no_companion_up(slot, folders, third):
    with slot.lease() as model:
        slot.open_beside(folders[1], timeout=0.1)
        slot.open_beside(third, timeout=0.1)
        slot.close_beside(timeout=0.1)
        assert len(list(generate(model, ["hello"], max_new_tokens=3))) == 3


def test_replies_of_a_pair_hold_every_change_up(pair, folders, third):
    changes = (
        lambda: pair.open(third, timeout=0.1),
        lambda: pair.open_beside(third, timeout=0.1),
        lambda: pair.close_beside(timeout=0.1),
    )
    with pair.lease_pair():
        for change in changes:
            with pytest.raises(ModelError, match="Replies are still running on the open"):
                change()
        assert pair_names(pair) == folders
    for change in changes[1:]:
        change()
    assert pair.companion_name is None


def test_while_a_companion_is_changed_the_model_is_lent_and_the_pair_is_not(pair, folders, third):
    changer = threading.Thread(target=pair.open_beside, args=(third,))
    with pair.lease_pair():
        changer.start()
        while not pair._changing:
            time.sleep(0.01)
        with pair.lease() as model:
            assert model.name == folders[0]
        with pytest.raises(ModelError, match="No model is open beside this one just now"):
            pair.lease_pair().__enter__()
        with pytest.raises(ModelError, match="Another model is being opened just now"):
            pair.open(third)
    changer.join(timeout=30)
    assert pair_names(pair) == [folders[0], third]


def test_many_threads_lease_pairs_and_change_without_a_mixed_up_model(slot, folders, third):
    pairs = {(folders[0], folders[1]), (folders[0], third), (folders[1], third)}
    wrong, served = [], []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                with slot.lease_pair() as (one, other):
                    before = (one.name, other.name)
                    time.sleep(0.005)
                    kept = (slot.name, slot.companion_name) == before
                    (served if kept and before in pairs else wrong).append(before)
            except ModelError:
                time.sleep(0.005)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for model, companion in sorted(pairs) * 2:
        slot.open(model)
        slot.open_beside(companion)
        before = len(served)
        while len(served) < before + 4 and not wrong:
            time.sleep(0.005)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert set(served) == pairs
