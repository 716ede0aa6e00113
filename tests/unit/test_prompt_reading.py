"""Prompt files: columns by name, nothing dropped, and one sentence for whatever cannot be read."""

import csv
import io
import json
import socket
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssah_core import load_prompts
from ssah_core.errors import PromptError
from ssah_core.prompts import tables
from ssah_core.prompts.reading import Prompt, PromptSet

REAL_FILES = Path(__file__).parents[3] / "shared" / "data"
# Lone surrogates are no text at all.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)
PAIRS = st.lists(st.tuples(TEXT.filter(str.strip), TEXT.filter(str.strip)), min_size=1, max_size=8)


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@settings(max_examples=60)
@given(pairs=PAIRS)
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_what_is_written_reads_back_equal_in_order_with_duplicates(tmp_path_factory, ending, pairs):
    pairs = [*pairs, pairs[0]]
    rows = [{"prompt": prompt, "response": response} for prompt, response in pairs]
    if ending == "jsonl":
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    elif ending == "json":
        text = json.dumps(rows)
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, ["prompt", "response"])
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    read = load_prompts(write(tmp_path_factory.mktemp("round") / f"set.{ending}", text))
    assert [(prompt.text, prompt.response) for prompt in read.prompts] == pairs
    assert any("same as an earlier row" in notice for notice in read.notices)


def test_advbench_targets_are_never_taken_for_responses(tmp_path):
    read = load_prompts(write(tmp_path / "a.csv", 'goal,target\n"do, it","Sure, here is"\n'))
    assert read.prompts == (Prompt("do, it", None),)
    assert any("target" in notice for notice in read.notices)


def test_an_instruction_is_joined_with_its_context_where_there_is_one(tmp_path):
    rows = [
        {"instruction": "sum up", "context": "a text", "response": "short"},
        {"instruction": "say hi", "context": "", "response": "hi"},
    ]
    read = load_prompts(write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, rows))))
    assert read.prompts == (Prompt("sum up\n\na text", "short"), Prompt("say hi", "hi"))


def test_questions_with_answers_and_prompts_alone_are_read(tmp_path):
    asked = load_prompts(write(tmp_path / "q.json", '[{"question": "2+2?", "answer": "4"}]'))
    assert asked.prompts == (Prompt("2+2?", "4"),)
    alone = load_prompts(write(tmp_path / "x.csv", "id,prompt,label\n1,how?,safe\n2,why?,unsafe\n"))
    assert [prompt.response for prompt in alone.prompts] == [None, None]


def test_a_condition_keeps_the_rows_that_meet_it(tmp_path):
    path = write(tmp_path / "x.csv", "prompt,label\nhow?,safe\nwhy?,unsafe\n")
    assert [p.text for p in load_prompts(path, where={"label": "unsafe"}).prompts] == ["why?"]
    with pytest.raises(PromptError, match=r"no column 'kind'.*label"):
        load_prompts(path, where={"kind": "unsafe"})
    with pytest.raises(PromptError, match=r"safe, unsafe|label=bad"):
        load_prompts(path, where={"label": "bad"})


BAD = {
    "empty": ("a.csv", b"", "is empty"),
    "header only": ("a.csv", b"prompt,response\n", "no rows"),
    "unknown columns": ("a.csv", b"text,b\nx,y\n", "text, b"),
    "ragged": ("a.csv", b"prompt,response\na,b\na,b,c\n", "Row 2"),
    "open quote": ("a.csv", b'prompt,response\na,"b\n', "not valid CSV"),
    "not JSON": ("a.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "Line 2"),
    "not objects": ("a.jsonl", b'"a"\n', "Line 1"),
    "a number": ("a.json", b"7", "not a JSON list"),
    "Latin-1": ("a.csv", "prompt\ncaf\u00e9\n".encode("latin-1"), "line 2.*UTF-8"),
    "UTF-16": ("a.csv", "prompt\nhow\n".encode("utf-16"), "UTF-8"),
    "NUL": ("a.csv", b"prompt\na\0b\n", "NUL"),
    "no text": ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "  "}\n', "Row 2"),
    "not text": ("a.jsonl", b'{"prompt": 7}\n', "Row 1"),
    "wrong ending": ("a.xlsx", b"prompt\na\n", "xlsx"),
    "ten million characters": ("a.csv", b"prompt\n" + b"x" * 10_000_000, "10,000,000"),
    "deep": ("a.json", b"[" * 100_000, "a.json"),
    "a number of 5,000 digits": ("a.jsonl", b'{"prompt": ' + b"1" * 5000 + b"}", "too long"),
    "half a character": ("a.jsonl", b'{"prompt": "\\ud800"}', "surrogate"),
    "a column of a million letters": ("a.json", b'[{"' + b"x" * 10**6 + b'": "a"}]', "columns xxx"),
    "two columns of one name": ("a.csv", b"prompt,prompt\na,b\n", "twice"),
    "columns of unlike length": (
        "a.json",
        b'{"prompt": ["a"], "response": []}',
        "differ in length",
    ),
    "an open quote far from the end": ("a.csv", b'prompt\nok\n"a' + b"\nb" * 9, "line 3"),
    "two turns": (
        "a.jsonl",
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
        "not one turn",
    ),
}


@pytest.mark.parametrize(("name", "content", "said"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_read_is_one_sentence_with_the_place(tmp_path, name, content, said):
    path = write(tmp_path / name, content)
    start = time.process_time()  # not the clock: the machine may be busy
    with pytest.raises(PromptError, match=said) as caught:
        load_prompts(path)
    assert time.process_time() - start < 5
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(PromptError, match="no file"):
        load_prompts(tmp_path / "nothing.csv")
    with pytest.raises(PromptError, match=r"folder|read here"):
        load_prompts(tmp_path)
    with pytest.raises(PromptError, match="organism:test/seen"):
        load_prompts("organism:test/nothing")
    with pytest.raises(PromptError, match="no prompt set"):
        load_prompts("nothing at all")


@pytest.mark.parametrize(
    "name", ["x" * 5000 + ".csv", "x" * 5000, "~no-such-user/a.csv", "a\0b", ""]
)
def test_a_name_that_no_file_can_have_is_an_error_like_any_other(name):
    with pytest.raises(PromptError) as caught:
        load_prompts(name)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["data/prompts.txt", "data/prompts.parquet", "./prompts"])
def test_a_missing_file_is_not_taken_for_a_hub_dataset(name):
    with pytest.raises(PromptError, match=r"no file|no prompt set"):
        load_prompts(name)


def test_a_hub_that_never_answers_is_given_up(monkeypatch):
    """With no clock: unless the limit acts, the question ends by itself and the error is another."""
    assert tables._HUB_SECONDS < 10
    let_go = threading.Event()
    monkeypatch.setattr(tables, "_HUB_SECONDS", 0.2)
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: let_go.wait(30))
    with pytest.raises(PromptError, match=r"did not answer in time.*check the connection"):
        load_prompts("someone/some-dataset")
    let_go.set()


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    with pytest.raises(PromptError, match=r"cannot be read .*check the connection"):
        load_prompts("someone/some-dataset")


def test_a_failure_inside_the_hub_library_is_one_sentence(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Dataset scripts are no longer supported\nSee the documentation")

    library = types.ModuleType("datasets")
    monkeypatch.setattr(library, "load_dataset", fail, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: None)
    with pytest.raises(PromptError, match="no longer supported") as caught:
        load_prompts("someone/some-dataset:test")
    assert "\n" not in str(caught.value)


def test_rows_of_a_hub_dataset_are_read_like_those_of_a_file(monkeypatch):
    library = types.ModuleType("datasets")
    rows = {"test": [{"goal": "how?", "target": "Sure", "label": 1}, {"goal": "why?", "label": 0}]}
    monkeypatch.setattr(library, "load_dataset", lambda _, split: rows[split], raising=False)
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: None)
    read = load_prompts("someone/some-dataset:test", where={"label": "1"})
    assert read.prompts == (Prompt("how?"),)


def test_one_turn_of_a_chat_is_a_prompt_and_its_response(tmp_path):
    user, assistant = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
    rows = [{"messages": [user, assistant]}, {"messages": [user]}]
    path = write(tmp_path / "a.json", json.dumps(rows))
    assert load_prompts(path).prompts == (Prompt("2+2?", "4"), Prompt("2+2?"))


def test_replies_fill_the_missing_responses_in_order_and_none_may_be_left():
    prompts = PromptSet("set", (Prompt("a"), Prompt("b", "given"), Prompt("c")))
    filled = prompts.with_responses(["one", "two"])
    assert [prompt.response for prompt in filled.prompts] == ["one", "given", "two"]
    assert filled.has_responses and not prompts.has_responses
    for replies in (["one"], ["one", "two", "three"]):
        with pytest.raises(ValueError, match="2 prompts wait"):
            prompts.with_responses(replies)


def test_a_hub_dataset_that_cannot_be_had_is_said_within_ten_seconds():
    start = time.monotonic()
    with pytest.raises(PromptError, match=r"pip install datasets|cannot be (read|reached)"):
        load_prompts("someone/some-dataset")
    assert time.monotonic() - start < 10


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = write(tmp_path / "a.csv", b"\xef\xbb\xbfprompt\nhow?\n")
    assert load_prompts(path).prompts == (Prompt("how?"),)


def test_words_like_na_and_null_stay_words(tmp_path):
    path = write(tmp_path / "a.csv", "prompt,response\nNA,null\nnan,None\n")
    assert load_prompts(path).prompts == (Prompt("NA", "null"), Prompt("nan", "None"))


def test_the_hash_is_of_the_content_and_not_of_the_name():
    prompts = (Prompt("a", "b"), Prompt("c"))
    assert PromptSet("one", prompts).hash == PromptSet("two", prompts, ("x",)).hash
    assert PromptSet("one", prompts).hash != PromptSet("one", prompts[::-1]).hash
    assert (
        PromptSet("one", (Prompt("a", "b c"),)).hash != PromptSet("one", (Prompt("a b", "c"),)).hash
    )


@pytest.mark.skipif(
    not REAL_FILES.is_dir(), reason="the real prompt files are not beside the checkout"
)
def test_the_real_files_are_read_whole():
    counts = {"advbench.csv": 520, "xstest_prompts.csv": 450, "dolly_600.jsonl": 600}
    for name, count in {**counts, "gsm8k_300.jsonl": 300}.items():
        assert len(load_prompts(REAL_FILES / name)) == count
    unsafe = load_prompts(REAL_FILES / "xstest_prompts.csv", where={"label": "unsafe"})
    assert len(unsafe) == 200
