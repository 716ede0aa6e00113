"""Proof that the files of an archive are what they say: their numbers fit together, and screens can show them.

Hashes prove only that nothing was changed since an archive was packed, not that its maker meant well.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ssah_core.errors import RunError
from ssah_core.evaluation.report import (
    PLAIN_METRICS,
    WITH_SYSTEM,
    control_notes,
    in_words,
    markdown,
)
from ssah_core.evaluation.study_folder import KeptStudy, open_study
from ssah_core.experiment_figures import curves_of
from ssah_core.models.anatomy import Anatomy
from ssah_core.probes.probe_folder import open_probe
from ssah_core.probes.probe_tables import GROUPS, KeptProbe
from ssah_core.probes.summary import View, summary
from ssah_core.reproduce import commands_of, python_of
from ssah_core.runs import Run, open_run
from ssah_core.scoring.scores import TOKEN_CHOICES
from ssah_core.training import experiment_report
from ssah_core.training.experiment_folder import open_experiment

_MOST_COLUMNS = 32
_MOST_PROMPTS = 100_000  # of a probe
_ODD = (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration)


def check_table(name: str, content: bytes, most_bytes: int) -> None:
    """Raise RunError where a parquet file is damaged or holds more than `most_bytes` once it is read.

    A few bytes of parquet can stand for terabytes: one value many times. Read with its dictionaries,
    it says how large it would be before it is.
    """
    damaged = RunError(f"The file {name} in the archive is damaged; export it again.")
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        columns = file.metadata.num_columns
        if columns > _MOST_COLUMNS or 8 * columns * file.metadata.num_rows > most_bytes:
            raise RunError(f"The file {name} in the archive is too large; it was not opened.")
        schema = file.schema_arrow
        if not all(_is_plain(field.type) for field in schema):
            raise damaged
        text = [field.name for field in schema if _is_text(field.type)]
        table = pq.read_table(io.BytesIO(content), read_dictionary=text)
        size = sum(_expanded(chunk) for column in table.columns for chunk in column.chunks)
    except (pa.ArrowException, OSError, *_ODD) as error:
        raise damaged from error
    if size > most_bytes:
        raise RunError(f"The file {name} in the archive is too large; it was not opened.")


def check_run(folder: Path) -> None:
    """Raise RunError unless this is a run whose scores and roles fit its anatomy, whole and finite."""
    run = open_run(folder)
    if not _fits(run):
        raise RunError(f"The run '{folder}' is damaged: its parts do not fit together.")


def check_study(folder: Path) -> None:
    """Raise RunError unless this is a study whose rows and replies can be shown."""
    kept = open_study(folder)
    try:
        markdown(kept.rows)
        in_words(kept.table)
        control_notes(kept.table)
        commands_of(kept.manifest, folder.name)
        python_of(kept.manifest, folder.name)
        known = _says_who(kept.manifest) and _replies_fit(kept) and _are_shares(kept.rows)
    except _ODD as error:
        raise RunError(f"The study '{folder}' is damaged: its parts are not a study's.") from error
    if not known:
        raise RunError(f"The study '{folder}' is damaged: its replies do not fit its rows.")


def check_probe(folder: Path) -> None:
    """Raise RunError unless this is a probe whose distances can be, and can be shown."""
    kept = open_probe(folder)
    try:
        commands_of(kept.manifest, folder.name)
        python_of(kept.manifest, folder.name)
        known = _says_who(kept.manifest) and _distances_fit(kept) and bool(summary(kept, View()))
    except _ODD as error:
        raise RunError(f"The probe '{folder}' is damaged: its parts are not a probe's.") from error
    if not known:
        raise RunError(f"The probe '{folder}' is damaged: its distances do not fit its prompts.")


def check_experiment(folder: Path) -> None:
    """Raise RunError unless this is an experiment whose rows can be shown."""
    kept = open_experiment(folder)
    try:
        commands_of(kept.manifest, folder.name)
        python_of(kept.manifest, folder.name)
        told = experiment_report.markdown(kept.rows), experiment_report.in_words(kept.rows)
        curves_of(kept.rows)
        known = _says_who(kept.manifest) and all(told) and all(map(_is_trial, kept.rows))
    except _ODD as error:
        raise RunError(f"The experiment '{folder}' is damaged: its parts are not one's.") from error
    if not known:
        raise RunError(f"The experiment '{folder}' is damaged: its rows cannot be shown.")


def _are_shares(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every figure that is a share lies between 0 and 1."""
    return all(
        0 <= figure["value"] <= 1 or figure["n"] == 0
        for row in rows
        for name, figure in row["metrics"].items()
        if name.removesuffix(WITH_SYSTEM) not in PLAIN_METRICS
    )


def _is_trial(row: Mapping[str, Any]) -> bool:
    """Whether a row's names are text, and its figures numbers."""
    figures = [figure for metric in row["metrics"].values() for figure in metric.values()]
    points = [value for point in row["curve"] for value in point.values()]
    numbers = all(
        isinstance(x, int | float) for x in (row["rate"], row["units"], *figures, *points)
    )
    return numbers and isinstance(row["lesson"], str) and isinstance(row["condition"], str)


def _fits(run: Run) -> bool:
    try:
        scores, anatomy = run.scores, run.scores.anatomy
        commands_of(run.manifest, run.folder.name)
        python_of(run.manifest, run.folder.name)
        if not _says_who(run.manifest) or not _is_sound(anatomy):
            return False
        sets = (scores.safety, scores.utility)
        vectors = [part.mean for one in sets for part in (one.prompt, one.response)]
        vectors += [part.squared_deviations for one in sets for part in (one.prompt, one.response)]
        shapes = {vector.shape for vector in (scores.norms_squared, *vectors)}
        if shapes != {(anatomy.channels,)}:
            return False
        with np.errstate(all="ignore"):
            views = [scores.at(tokens) for tokens in TOKEN_CHOICES]
        parts = [part for view in views for part in (view.difference, view.means)]
        finite = all(np.isfinite(part).all() for part in parts)
        if "roles" not in run.manifest:
            return finite
        return finite and run.roles is not None and len(run.roles.vector) == anatomy.units
    except _ODD:
        return False


def _is_sound(anatomy: Anatomy) -> bool:
    """Whether the sites follow one another, each with some units."""
    offset = 0
    for site in anatomy.sites:
        numbers = (site.layer, site.units, site.width, site.offset)
        if not all(type(number) is int and number >= 0 for number in numbers):
            return False
        if site.kind not in ("attn", "mlp") or site.offset != offset or not site.channels:
            return False
        offset += site.units
    return bool(anatomy.sites) and anatomy.layers <= len(anatomy.sites)


def _says_who(manifest: object) -> bool:
    """Whether the parts that lists and headings show are text."""
    assert isinstance(manifest, dict)
    model = manifest["model"]
    return all(
        isinstance(x, str) for x in (manifest["created"], model["name"], model["fingerprint"])
    )


def _replies_fit(kept: KeptStudy) -> bool:
    """Whether every row has its replies, as many as every other."""
    made_by = ["removed", "control", "units", "seed", "fill", "system"]
    replies = kept.replies
    sizes = replies.groupby(made_by, dropna=False).size()
    as_many = (sizes % sizes.min() == 0).all()
    text = all(isinstance(cell, str) for name in ("prompt", "reply") for cell in replies[name])
    own = replies[replies["control"].isna()]
    found = set(zip(own["removed"], own["units"], own["fill"], strict=True))
    rows = {(r["removed"], r["units"], r["fill"]) for r in kept.rows if r["control"] is None}
    return bool(as_many and text and found == rows)


def _distances_fit(kept: KeptProbe) -> bool:
    """Whether prompts are text in known groups, and distances finite and not negative."""
    prompts = kept.prompts
    text = all(isinstance(cell, str) for name in ("subject", "prompt") for cell in prompts[name])
    if not text or not set(prompts["group"]) <= set(GROUPS):
        return False
    if not 0 < len(prompts) <= _MOST_PROMPTS:  # their intervals would take minutes
        return False
    every = [x for one in kept.series for x in (one.direction.cosine, one.direction.euclidean)]
    return all(bool(np.isfinite(x).all() and (x >= 0).all()) for x in every)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_plain(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return _is_text(kind) or any(test(kind) for test in tests)


def _expanded(chunk: pa.Array) -> int:
    """The bytes of a column once every value stands for itself."""
    if not isinstance(chunk, pa.DictionaryArray):
        return int(chunk.nbytes)
    lengths = pc.binary_length(chunk.dictionary).to_numpy(zero_copy_only=False)
    return int(lengths[chunk.indices.drop_null().to_numpy()].sum())
