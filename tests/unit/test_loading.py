"""Opening models from folders: what works, and one line with the remedy for everything that does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import saved_models
import torch
from safetensors.torch import load_file, save_file
from saved_models import refused, saved
from tiny_models import CONFIGS, fresh_model, tiny_model
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel

from ssah_core import generate, load_model
from ssah_core.errors import SsahError
from ssah_core.models import sources
from ssah_core.models.loading import PLAIN_TEMPLATE_NOTICE
from ssah_core.prompts.rendering import prompt_text

good = saved_models.good  # the fixture


@pytest.fixture
def folder(good, tmp_path) -> Path:
    """A good model's folder, to be spoiled."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def change_config(folder: Path, **words) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **words}))


def change_weights(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


# What works


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "gemma3_text", "cohere2"])
def test_a_saved_folder_opens_as_the_same_model(family, tmp_path):
    model, original = load_model(str(saved(tmp_path, family))), tiny_model(family)
    token_ids = torch.tensor([[5, 6, 70, 8]])
    with torch.inference_mode():
        found = model.network(input_ids=token_ids).logits
        assert torch.equal(found, original.network(input_ids=token_ids).logits)
    assert model.anatomy == original.anatomy
    assert model.name == str(tmp_path)
    assert model.notices == ()
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    assert model.parameters == original.parameters > 0
    assert not model.network.training


def test_the_dtype_can_be_chosen(good):
    model = load_model(str(good), dtype="bfloat16", device="cpu")
    assert model.dtype == torch.bfloat16
    assert len(list(generate(model, ["hello"], max_new_tokens=2))) == 2
    assert load_model(str(good), dtype=torch.float16).dtype == torch.float16


def test_a_fingerprint_names_the_weights_and_the_configuration(good, folder, tmp_path):
    first = load_model(str(good)).fingerprint
    assert load_model(str(folder)).fingerprint == first
    other = saved(tmp_path / "other", seed=1)
    assert load_model(str(other)).fingerprint != first
    change_config(folder, rms_norm_eps=1e-5)
    second = load_model(str(folder)).fingerprint
    assert second != first
    change_weights(folder, lambda weights: weights["lm_head.weight"][0].add_(1e-3))
    assert load_model(str(folder)).fingerprint not in (first, second)


def test_a_fingerprint_of_a_large_file_reads_samples_of_it(good, folder, monkeypatch):
    monkeypatch.setattr(sources, "_HASHED_WHOLE", 0)
    monkeypatch.setattr(sources, "_SAMPLE", 64)
    first = sources.locate(str(folder)).fingerprint()
    assert first == sources.locate(str(good)).fingerprint()
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert sources.locate(str(folder)).fingerprint() != first


def test_a_tokenizer_without_a_chat_template_gets_a_plain_one_and_says_so(tmp_path):
    model = load_model(str(saved(tmp_path, chat_template=False)))
    assert model.notices == (PLAIN_TEMPLATE_NOTICE,)
    chat = [
        {"role": "system", "content": "Be kind. "},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Who are you?"},
    ]
    assert prompt_text(model, chat) == (
        "Be kind.\nUser: Hello\nAssistant: Hi\nUser: Who are you?\nAssistant:"
    )
    assert len(list(generate(model, [chat], max_new_tokens=3))) == 3


def test_settings_for_replies_in_an_old_config_do_not_leak_in(folder):
    expected = [s.tokens for s in generate(tiny_model(), ["hello"], max_new_tokens=6)]
    change_config(folder, do_sample=True, temperature=9.0, top_k=5, max_length=3)
    (folder / "generation_config.json").unlink()
    model = load_model(str(folder))
    assert [s.tokens for s in generate(model, ["hello"], max_new_tokens=6)] == expected
    generation = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 4096}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    model = load_model(str(folder))
    assert [s.tokens for s in generate(model, ["hello"], max_new_tokens=6)] == expected


# Folders


def test_a_folder_without_safetensors_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    refused(folder, "has no .safetensors weights, .* save it again with save_pretrained")


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    refused(folder, "has no config.json; give a folder that")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"llama"', "{}", '{"model_type": "no_such_family"}', b"\xff\xfe\x00",
     '{"model_type": 3}', '{"model_type": "llama", "hidden_size": "wide"}'],
)  # fmt: skip
def test_a_malformed_config_is_refused(folder, content):
    path = folder / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(
        folder, r"config\.json of '.*' is damaged or of an architecture .* \(.+\); get it again"
    )


@pytest.mark.parametrize(
    "words", [{"num_attention_heads": 0}, {"hidden_size": -4}, {"num_hidden_layers": "two"}]
)
def test_a_config_of_impossible_sizes_is_refused(folder, words):
    change_config(folder, **words)
    refused(folder, "(is damaged or of|cannot be opened)")


def test_a_config_that_asks_for_its_own_code_is_refused_and_not_run(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    change_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.EvilConfig"})
    refused(folder, "an architecture that transformers itself does not contain")


def test_a_model_that_does_not_predict_the_next_token_is_refused(tmp_path):
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**tiny, intermediate_size=16)).save_pretrained(tmp_path / "bert")
    refused(tmp_path / "bert", "'bert' are not supported")
    config = AutoConfig.for_model("llama", **CONFIGS["llama"])
    classifier = AutoModelForSequenceClassification.from_config(config)
    classifier.save_pretrained(tmp_path / "classifier")
    refused(tmp_path / "classifier", "is a LlamaForSequenceClassification, not a causal language")
    for family, reason in (("mixtral", "experts"), ("mamba2", "heads"), ("t5", "decoder-only")):
        AutoConfig.for_model(family).save_pretrained(tmp_path / family)
        refused(tmp_path / family, reason)


def test_a_quantised_checkpoint_is_refused(folder):
    change_config(
        folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}
    )
    refused(folder, "is quantised, .* choose the unquantised checkpoint")


# Weights


@pytest.mark.parametrize("left", [0, 4, 100, 0.5, -1])
def test_cut_off_weights_are_refused(folder, left):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if isinstance(left, float) else left])
    refused(folder, "are damaged or cut short .*; download or save them again")


def test_a_missing_weight_is_named(folder):
    change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.down_proj.weight"))
    refused(folder, r"lacks 1 of its weights \(such as model\.layers\.1\.mlp\.down_proj\.weight\)")


def test_a_weight_of_another_shape_is_refused(folder):
    def cut(weights) -> None:
        name = "model.layers.1.mlp.down_proj.weight"
        weights[name] = weights[name][:, :-1].contiguous()

    change_weights(folder, cut)
    refused(folder, "have other sizes than its config.json says; download or save both again")


def test_a_missing_shard_is_refused(folder):
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, r"lacks 1 of its 1 weight files \(such as model-00002-of-00002\.safetensors\)")
    (folder / "model.safetensors.index.json").write_text("{")
    refused(folder, r"model\.safetensors\.index\.json of .* is damaged")


def test_weights_that_the_configuration_does_not_know_are_told(folder):
    change_config(folder, num_hidden_layers=1)
    model = load_model(folder)
    assert any("ignored (such as model.layers.1." in notice for notice in model.notices)


def test_a_folder_or_an_organism_has_no_revision(folder):
    for name in (str(folder), "organism:planted"):
        refused(name, "leave the revision out", revision="main")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(folder, value):
    def spoil(weights) -> None:
        weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value

    change_weights(folder, spoil)
    refused(folder, r"model\.layers\.1\.mlp\.up_proj\.weight that are not finite .*: get it again")


@pytest.mark.parametrize("content", [None, "", "{", '{"version": "1.0"}'])
def test_a_missing_or_malformed_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").unlink()
    if content is not None:
        (folder / "tokenizer.json").write_text(content)
    refused(folder, r"tokenizer of .* is missing or damaged .* into the model's folder again")


# In memory


def test_a_model_in_memory_with_damaged_weights_is_refused():
    def spoil(network) -> None:
        network.lm_head.weight.data[3, 3] = np.nan

    with pytest.raises(SsahError, match=r"'tiny llama' has values in lm_head\.weight"):
        fresh_model(change=spoil)
