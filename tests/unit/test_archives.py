"""Archives: what is packed comes back bit for bit, and a hostile one is a sentence that leaves nothing."""

import io
import json
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from tiny_models import tiny_model

from ssah_core import (
    Prompt,
    PromptSet,
    archives,
    assign_roles,
    create_run,
    open_run,
    save_roles,
    score,
)
from ssah_core.archives import pack, unpack
from ssah_core.errors import RunError
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.study_folder import open_study, run_study
from ssah_core.keeping import find
from ssah_core.storage import sha256

SAFETY = PromptSet("safety", tuple(Prompt(f"do {n}", "no") for n in range(4)))
UTILITY = PromptSet("utility", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(4)))
ASKED = Questions((Question("make 1", "1"),), (Question("say 1", "1"),))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with one run, `mine`, and one with a study of it, `s`; tests take copies."""
    place = tmp_path_factory.mktemp("kept")
    scores = score(tiny_model(), safety=SAFETY, utility=UTILITY)
    run = create_run(place / "runs" / "mine", tiny_model(), scores)
    run = save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    run_study(place / "studies" / "s", tiny_model(), run, ASKED, Plan(1, reply_tokens=2))
    return place


@pytest.fixture
def run_files(kept):
    return files_of(kept / "runs" / "mine")


@pytest.fixture
def study_files(kept):
    return files_of(kept / "studies" / "s")


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def with_manifest(files, **changes):
    """The files with another manifest, whose hashes fit them."""
    manifest = json.loads(files["manifest.json"]) | changes
    manifest["files"] = {k: sha256(v) for k, v in files.items() if k != "manifest.json"}
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def refused(tmp_path, archive, kind="run"):
    """What an archive is refused with, in one sentence, once it is sure that nothing was left behind."""
    root = tmp_path / "root"
    with pytest.raises(RunError) as caught:
        unpack(root, "new", archive, kind)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


# What is packed comes back


@pytest.mark.parametrize(("kind", "name"), [("run", "mine"), ("study", "s")])
def test_what_is_packed_comes_back_bit_for_bit(kept, tmp_path, kind, name):
    folder = kept / {"run": "runs", "study": "studies"}[kind] / name
    archive = pack(folder)
    assert pack(folder) == archive
    unpack(tmp_path, "again", archive, kind)
    assert files_of(tmp_path / "again") == files_of(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
    assert pack(tmp_path / "again") == archive


def test_an_archive_is_the_same_whatever_the_files_times_are(kept, tmp_path):
    archive = pack(kept / "runs" / "mine")
    unpack(tmp_path, "again", archive, "run")
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert {info.date_time[0] for info in opened.infolist()} == {1980}
        names = opened.namelist()
    assert names == ["manifest.json", *sorted(names[1:])]


def test_a_study_of_two_fills_and_of_curves_comes_back(kept, tmp_path):
    plan = Plan(2, ("zero", "mean"), (0.05, 0.3), "Be kind.", 2)
    run_study(tmp_path / "s", tiny_model(), open_run(kept / "runs" / "mine"), ASKED, plan)
    unpack(tmp_path, "t", pack(tmp_path / "s"), "study")
    assert open_study(tmp_path / "t").rows == open_study(tmp_path / "s").rows


def test_a_shipped_run_can_be_packed_and_taken_in(tmp_path):
    unpack(tmp_path, "mine", pack(find(tmp_path, "organism:planted", "run")), "run")
    assert open_run(tmp_path / "mine").roles is not None


def test_a_damaged_run_is_not_packed(run_files, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in run_files.items():
        (folder / name).write_bytes(content)
    (folder / "prompts.parquet").write_bytes(b"other")
    with pytest.raises(
        RunError, match=r"prompts\.parquet of 'mine' is damaged or was just changed"
    ):
        pack(folder)


# Attacks


def test_a_taken_name_is_an_error_that_says_so(kept, run_files, tmp_path):
    unpack(tmp_path, "new", zipped(run_files), "run")
    with pytest.raises(RunError, match="already exists"):
        unpack(tmp_path, "new", zipped(run_files), "run")
    assert files_of(tmp_path / "new") == run_files


def test_a_name_that_is_taken_while_the_archive_is_read_is_left_alone(
    run_files, tmp_path, monkeypatch
):
    def taken_meanwhile(folder):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "letter.txt").write_text("dear")

    monkeypatch.setitem(archives._CHECKS, "run", taken_meanwhile)
    with pytest.raises(RunError, match="already exists"):
        unpack(tmp_path, "new", zipped(run_files), "run")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "../out.json",
        "/tmp/out.json",
        "..\\out.json",
        "deeper/manifest.json",
        "deeper/",
        "C:out.json",
    ],
)
def test_an_archive_with_a_path_is_refused(run_files, tmp_path, name):
    assert "no export packs" in refused(tmp_path, zipped({**run_files, name: b"{}"}))


@pytest.mark.parametrize(
    "name", ["run.py", ".json", "more.json", "manifest.json\n", "roles-x.parquet"]
)
def test_an_archive_with_a_file_that_no_run_has_is_refused(run_files, tmp_path, name):
    assert "no export packs" in refused(tmp_path, zipped({**run_files, name: b"{}"}))


def test_an_archive_with_a_link_is_refused(run_files, tmp_path):
    info = zipfile.ZipInfo("roles-0123456789ab.parquet")
    info.external_attr = 0o120777 << 16
    content = io.BytesIO(zipped(run_files))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "holds a link" in refused(tmp_path, content.getvalue())


def test_an_archive_that_holds_a_file_twice_is_refused(run_files, tmp_path):
    content = io.BytesIO(zipped(run_files))
    with warnings.catch_warnings(), zipfile.ZipFile(content, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("manifest.json", "{}")
    assert "a file twice" in refused(tmp_path, content.getvalue())


def test_an_archive_that_swells_is_stopped_by_what_it_really_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 10_000)
    archive = zipped({"manifest.json": b" " * 1_000_000})
    assert len(archive) < 10_000
    assert "larger than 1 GB" in refused(tmp_path, archive)
    lying = archive.replace((1_000_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    assert refused(tmp_path, lying)


@pytest.mark.parametrize(("value", "rows"), [("x" * 1_000, 100_000), (1.0, 200_000)])
def test_a_table_that_swells_when_it_is_read_is_not_read(
    run_files, tmp_path, monkeypatch, value, rows
):
    table = pd.DataFrame({"set": [value] * rows})
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    assert len(buffer.getvalue()) < 20_000
    monkeypatch.setattr(archives, "MOST_BYTES", 1_000_000)
    files = with_manifest({**run_files, "prompts.parquet": buffer.getvalue()})
    assert "too large" in refused(tmp_path, zipped(files))


def test_an_archive_packed_in_an_unusual_way_is_refused(run_files, tmp_path):
    said = refused(tmp_path, zipped(run_files, zipfile.ZIP_LZMA))
    assert "unusual" in said


@pytest.mark.parametrize("part", ["scores", "prompts", "roles"])
def test_an_archive_with_a_damaged_file_is_refused(run_files, tmp_path, part):
    [name] = [name for name in run_files if name.startswith(part)]
    content = bytearray(run_files[name])
    content[len(content) // 2] ^= 1
    assert f"{name} in the archive is damaged" in refused(
        tmp_path, zipped({**run_files, name: bytes(content)})
    )


@pytest.mark.parametrize("part", ["scores", "prompts", "roles"])
def test_an_archive_without_a_file_that_its_manifest_names_is_refused(run_files, tmp_path, part):
    files = {name: data for name, data in run_files.items() if not name.startswith(part)}
    assert "name different files" in refused(tmp_path, zipped(files))


def test_a_manifest_that_names_a_file_elsewhere_reads_nothing_there(run_files, tmp_path):
    manifest = json.loads(run_files["manifest.json"])
    manifest["files"]["../../../../dev/zero"] = sha256(b"")
    files = {**run_files, "manifest.json": json.dumps(manifest).encode()}
    assert "name different files" in refused(tmp_path, zipped(files))


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{", b"\xff", b"[" * 100_000, b'{"files": 3}', b"null"],
    ids=["a list", "cut", "no text", "deep", "no files", "nothing"],
)
def test_a_manifest_that_is_none_is_refused(run_files, tmp_path, content):
    assert "damaged" in refused(tmp_path, zipped({**run_files, "manifest.json": content}))


def test_an_archive_without_a_manifest_is_refused(tmp_path):
    assert "no manifest" in refused(tmp_path, zipped({"scores.safetensors": b""}))


@pytest.mark.parametrize("cut", [0, 3, 200, 5_000])
def test_what_is_no_zip_or_half_of_one_is_refused(run_files, tmp_path, cut):
    assert "no zip archive" in refused(tmp_path, zipped(run_files)[:cut])


def test_the_other_kind_is_refused_by_its_name(run_files, study_files, tmp_path):
    assert "holds a study, and a run was expected" in refused(tmp_path, zipped(study_files))
    assert "holds a run, and a study was expected" in refused(tmp_path, zipped(run_files), "study")


# Hashes fit, but the content was made to break what opens it


ODD_RUNS = {
    "a format to come": {"format": 99},
    "no sites": {"anatomy": []},
    "a site of other units": {
        "anatomy": [{"layer": 0, "kind": "mlp", "module": "x", "units": 9, "width": 1, "offset": 0}]
    },
    "a day that is no text": {"created": {}},
    "no prompts": {"prompts": {}},
    "half a character": {"created": "\ud800"},
}


@pytest.mark.parametrize("odd", ODD_RUNS)
def test_a_run_whose_parts_do_not_fit_is_refused(run_files, tmp_path, odd):
    said = refused(tmp_path, zipped(with_manifest(run_files, **ODD_RUNS[odd])))
    assert "damaged" in said or "update SSAH Explorer" in said


ODD_STUDIES = {
    "no rows": [],
    "rows of numbers": [1, 2],
    "a row without figures": [{"removed": "ESU", "control": None, "units": 1, "fill": "zero"}],
    "text": "rows",
}


@pytest.mark.parametrize("odd", ODD_STUDIES)
def test_a_study_whose_rows_cannot_be_shown_is_refused(study_files, tmp_path, odd):
    rows = json.dumps(ODD_STUDIES[odd]).encode()
    files = with_manifest({**study_files, "rows.json": rows})
    assert "damaged" in refused(tmp_path, zipped(files), "study")


def test_a_study_with_a_share_beyond_all_is_refused(study_files, tmp_path):
    rows = json.loads(study_files["rows.json"])
    rows[0]["metrics"]["refused"]["value"] = 7
    files = with_manifest({**study_files, "rows.json": json.dumps(rows).encode()})
    assert "damaged" in refused(tmp_path, zipped(files), "study")


@pytest.mark.parametrize(
    "name", ["prompts.parquet", "roles", "scores.safetensors", "manifest.json"]
)
def test_files_with_flipped_bytes_and_fitting_hashes_are_refused_or_open(run_files, tmp_path, name):
    generator = np.random.default_rng(0)
    [name] = [known for known in run_files if known.startswith(name)]
    for number in range(60):
        content = np.frombuffer(run_files[name], dtype=np.uint8).copy()
        # The beginning and the end of a file say how the rest is read.
        edges = np.r_[0 : min(200, len(content)), -min(800, len(content)) : 0]
        content[generator.choice(edges, 3)] = generator.integers(0, 256, 3)
        files = {**run_files, name: content.tobytes()}
        try:
            files = files if name == "manifest.json" else with_manifest(files)
            unpack(tmp_path, f"new {number}", zipped(files), "run")
        except RunError as error:
            assert "\n" not in str(error)
            assert not (tmp_path / f"new {number}").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_study_that_lacks_replies_is_refused(study_files, tmp_path):
    replies = pd.read_parquet(io.BytesIO(study_files["replies.parquet"]))
    buffer = io.BytesIO()
    replies[replies["removed"] != "ESU"].to_parquet(buffer, index=False)
    files = with_manifest({**study_files, "replies.parquet": buffer.getvalue()})
    assert "replies do not fit" in refused(tmp_path, zipped(files), "study")
