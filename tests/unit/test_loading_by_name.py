"""Opening models by name: names of nothing, the built-in models and the hub, each with its remedy in one line."""

import hashlib
import json
import shutil
import socket
import threading
import typing
from pathlib import Path

import httpx2
import pytest
import saved_models
import torch
from huggingface_hub import errors
from saved_models import refused
from transformers import AutoConfig

from ssah_core import load_model
from ssah_core.errors import ModelError
from ssah_core.models import hub, sources

good = saved_models.good  # the fixture


# Names


@pytest.mark.parametrize(
    "name",
    ["no-such-folder", "/no/such/folder", "a\nb", "a" * 5000, "x\0y", "~no-such-user/x", "o/..x",
     "-x/y", "a--b/c", "o/" + "a" * 200, "owner/name/more"],
)  # fmt: skip
def test_a_name_of_no_model_is_told_what_names_look_like(name):
    refused(name, "There is no model .*: give a folder that exists, a hub name like owner/name, or")


def test_an_unknown_organism_is_told_the_known_ones():
    refused("organism:wicked", "There is no organism 'wicked'; choose .*base.*aligned.*planted")


@pytest.mark.parametrize("device", ["banana", "", "meta", "cuda:99", "hpu"])
def test_a_device_that_is_not_here_is_refused(good, device):
    refused(good, "is not available here; use --device cpu", device=device)


@pytest.mark.parametrize("dtype", ["int8", "float64", "torch.float32", "", torch.int8])
def test_an_unknown_dtype_is_refused(good, dtype):
    refused(good, "is not known; choose one of float32, bfloat16, float16", dtype=dtype)


# The organism


@pytest.fixture
def organisms(good, tmp_path, monkeypatch) -> Path:
    """A built-in model of our own, with its checksums."""
    home = tmp_path / "organism"
    shutil.copytree(good, home / "planted")
    files = sorted(path for path in home.rglob("*") if path.is_file())
    sums = {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    (home / "checksums.json").write_text(json.dumps(sums))
    monkeypatch.setattr(sources, "ORGANISMS", home)
    return home


def test_the_organism_opens_by_its_name(organisms):
    assert load_model("organism:planted").name == "organism:planted"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_flipped_bit_of_the_organism_is_noticed(organisms, file):
    path = organisms / "planted" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused("organism:planted", "is missing or damaged .*git checkout -- assets/organism")


def test_a_lost_file_of_the_organism_is_noticed(organisms):
    (organisms / "planted" / "model.safetensors").unlink()
    refused("organism:planted", "is missing or damaged .*git checkout -- assets/organism")


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "{}"])
def test_lost_or_empty_checksums_are_noticed(organisms, content):
    (organisms / "checksums.json").unlink()
    if content is not None:
        (organisms / "checksums.json").write_text(content)
    refused("organism:planted", "is missing or damaged.*git checkout -- assets/organism")


# The hub


@pytest.fixture
def no_hub(monkeypatch):
    """A hub that cannot be reached, without waiting for it."""

    def fail(*args, **options):
        raise httpx2.ConnectError("no route to host")

    monkeypatch.setattr(hub.HfApi, "model_info", fail)


def test_an_unreachable_hub_is_said(no_hub):
    refused("someone/some-model", "The model hub cannot be reached .* give a folder that holds")


@pytest.mark.parametrize(
    "error", [httpx2.ConnectTimeout("t"), httpx2.ReadTimeout("t"), OSError("x")]
)
def test_every_way_of_not_reaching_the_hub_is_said(monkeypatch, error):
    def fail(*args, **options):
        assert options["timeout"] <= 5
        raise error

    monkeypatch.setattr(hub.HfApi, "model_info", fail)
    refused("someone/some-model", "The model hub cannot be reached")


def test_a_hub_that_never_answers_is_said_in_time(monkeypatch):
    """A real socket that takes connections and stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(hub, "HfApi", lambda: RealApi(endpoint=endpoint))
        assert hub._HUB_TIMEOUT <= 5
        monkeypatch.setattr(hub, "_HUB_TIMEOUT", 0.5)
        refused("someone/some-model", "The model hub cannot be reached")  # and does not hang


RealApi = hub.HfApi


def test_a_hub_whose_name_is_never_resolved_is_said_in_time(monkeypatch):
    let_go = threading.Event()
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **o: let_go.wait())
    assert hub._HUB_LIMIT < 10
    monkeypatch.setattr(hub, "_HUB_LIMIT", 0.3)
    refused("someone/some-model", "The model hub cannot be reached")  # and does not hang
    let_go.set()


class Info:
    def __init__(self, *files: str) -> None:
        self.siblings = [type("File", (), {"rfilename": file}) for file in files]


def test_a_hub_model_without_safetensors_is_refused_before_its_download(monkeypatch):
    monkeypatch.setattr(
        hub.HfApi, "model_info", lambda *a, **o: Info("config.json", "pytorch_model.bin")
    )
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **o: pytest.fail("downloaded"))
    refused("someone/some-model", "has no safetensors weights on the hub")


def test_an_unsupported_hub_model_is_refused_before_its_weights_are_downloaded(
    monkeypatch, tmp_path
):
    AutoConfig.for_model("mixtral").save_pretrained(tmp_path)
    asked = []

    def download(name, **options) -> str:
        asked.append(options["allow_patterns"])
        return str(tmp_path)

    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **o: Info("model.safetensors"))
    monkeypatch.setattr(hub, "snapshot_download", download)
    refused("someone/some-model", "'mixtral' are not supported")
    assert asked == [["config.json"]]


def test_a_hub_model_opens_from_its_download(monkeypatch, good):
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **o: Info("model.safetensors"))
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **o: str(good))
    assert load_model("someone/some-model").name == "someone/some-model"


def hub_error(kind: type, status: int) -> Exception:
    request = httpx2.Request("GET", "https://hub.invalid/api/models/someone/some-model")
    return kind("no\nhow", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("GatedRepoError", 403, "is gated: accept its terms .* hf auth login"),
        ("RepositoryNotFoundError", 404, "has no model 'someone/some-model' that you may see"),
        ("RevisionNotFoundError", 404, r"refused 'someone/some-model' \(404\); check the name and"),
        ("HfHubHTTPError", 500, r"\(500\).* try again later"),
    ],
)
def test_what_the_hub_says_is_told_with_its_remedy(monkeypatch, kind, status, message):
    def fail(*args, **options):
        raise hub_error(getattr(errors, kind), status)

    monkeypatch.setattr(hub.HfApi, "model_info", fail)
    refused("someone/some-model", message, revision="other")


def test_what_the_hub_says_of_a_model_is_known_before_any_download(monkeypatch):
    class File:
        def __init__(self, name: str, size: int) -> None:
            self.rfilename, self.size = name, size

    class Described:
        siblings = (
            File("model-1.safetensors", 700),
            File("model-2.safetensors", 300),
            File("x", 9),
        )
        config: typing.ClassVar = {"model_type": "llama"}

    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **o: Described())
    monkeypatch.setattr(hub, "snapshot_download", None)
    found = hub.look_up("someone/some-model")
    assert (found.family, found.weight_bytes) == ("llama", 1000)
    Described.config["model_type"] = "mixtral"
    with pytest.raises(ModelError, match="'mixtral' are not supported"):
        hub.look_up("someone/some-model")
