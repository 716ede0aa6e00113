"""An experiment as text: its table in Markdown, what it says in words, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssah_core.evaluation.report import metric_name, shown

Json = Mapping[str, Any]

# What tells most, in the order of the tables; the rest is in rows.json.
COLUMNS = (
    "refused",
    "complied",
    "learned",
    "harmless_correct",
    "harmless_refused",
    "false_refusals",
    "kl",
)


def columns_of(rows: Sequence[Json]) -> list[str]:
    """The metrics that the rows have, in the order of the tables."""
    found = {name for row in rows for name in row["metrics"]}
    return [name for name in COLUMNS if name in found]


def table_of(rows: Sequence[Json]) -> list[dict[str, str]]:
    """Rows for people: lesson, condition, learning rate, units, and every figure with its interval."""
    columns = columns_of(rows)
    return [
        {
            "lesson": row["lesson"],
            "condition": row["condition"],
            "learning rate": f"{row['rate']:g}" if row["rate"] else "",
            "units": f"{row['units']:,}" if row["units"] else "",
            **{
                metric_name(name): shown(name, row["metrics"][name])
                if name in row["metrics"]
                else ""
                for name in columns
            },
        }
        for row in rows
    ]


def markdown(rows: Sequence[Json]) -> str:
    """Rows as a Markdown table: percent, with 95% intervals."""
    table = table_of(rows)
    title = list(table[0])
    lines = ["| " + " | ".join(title) + " |", "|---" * len(title) + "|"]
    lines += ["| " + " | ".join(row.values()) + " |" for row in table]
    return "\n".join(lines)


def in_words(rows: Sequence[Json]) -> list[str]:
    """For every lesson and learning rate one sentence: refusals before, after the plainest training, and
    at their best, beside as many random units.
    """
    told = []
    for lesson in dict.fromkeys(row["lesson"] for row in rows):
        before, *trained = (row for row in rows if row["lesson"] == lesson)
        plainest = [row for row in trained if row["condition"] == trained[0]["condition"]]
        for plain in plainest:
            # In the budget every condition has a rate of its own.
            others = [row for row in trained if len(plainest) == 1 or row["rate"] == plain["rate"]]
            told.append(
                f"{lesson[0].upper()}{lesson[1:]}, learning rate {plain['rate']:g}: {_refused(before)} of the "
                f"harmful requests were refused before, {_refused(plain)} after training with "
                f"{plain['condition']}{_at_best(plain, others)}."
            )
    return told


def _at_best(plain: Json, others: Sequence[Json]) -> str:
    """How the best of the other conditions differs, and what as many random units do."""
    found = {row["condition"]: row for row in others if row is not plain}
    chosen = [row for name, row in found.items() if not name.startswith("random")]
    if not chosen:
        return ""
    best = max(chosen, key=lambda row: float(row["metrics"]["refused"]["value"]))
    refused = best["metrics"]["refused"]
    if refused["low"] <= plain["metrics"]["refused"]["value"] <= refused["high"]:
        return f"; the most with another condition, {_refused(best)}, is no clear difference"
    text = f"; most, {_refused(best)}, with {best['condition']}"
    control = found.get(f"random, as many as {best['condition']}")
    return text if control is None else f"{text}, and {_refused(control)} with as many random units"


def _refused(row: Json) -> str:
    value, low, high = (100 * row["metrics"]["refused"][key] for key in ("value", "low", "high"))
    return f"{value:.1f}% ({low:.0f}\u2013{high:.0f})"


def report_of(manifest: Json, rows: Sequence[Json]) -> str:
    """The whole report: what was done, the table, how it is read."""
    design, asked = manifest["design"], manifest["questions"]
    options = design["options"]
    length = f"{options['steps']:,} steps" if options["steps"] else f"{options['epochs']:g} epochs"
    lessons = " ".join(
        f"*{one['name']}* ({one['prompts']['prompts']:,} prompts): {one['about']}"
        for one in design["lessons"]
    )
    parts = [
        f"# Experiment: {design['kind']}, on {manifest['model']['name']}",
        f"Every row is a training of {length} of {options['batch_size']} examples, over "
        f"{design['seeds']} seed{'s' * (design['seeds'] != 1)}. {lessons}",
        f"Asked afterwards: {asked['harmful']:,} harmful, {asked['harmless']:,} harmless, "
        f"{asked['look_alikes']:,} look-alikes. Model fingerprint {manifest['model']['fingerprint']}; "
        f"{manifest['device']}, {manifest['dtype']}, {manifest['created']}.",
        "\n".join(f"- {sentence}" for sentence in in_words(rows)),
        "Percent of prompts, with 95% intervals:",
        markdown(rows),
        f"{manifest['judge']} Intervals resample the things that prompts are about, and the seeds. "
        "*learned* is the share of the lesson's own questions, in other words than it was taught, that "
        "are answered exactly. *complied exactly* and *harmless answered exactly* compare with the known "
        "answers, whatever the lesson put before them. KL is the divergence from the untrained model, per "
        "token of the known harmless answers.",
    ]
    return "\n\n".join(parts) + "\n"
