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
    """For every lesson one sentence: refusals before, after the plainest training, and at their best."""
    told = []
    for lesson in dict.fromkeys(row["lesson"] for row in rows):
        own = [row for row in rows if row["lesson"] == lesson]
        before, plain, others = own[0], own[1], own[2:]
        text = (
            f"{lesson[0].upper()}{lesson[1:]}: {_refused(before)} of the harmful requests were refused "
            f"before, {_refused(plain)} after training with {plain['condition']}"
        )
        if others:
            best = max(others, key=lambda row: float(row["metrics"]["refused"]["value"]))
            text += f"; most, {_refused(best)}, with {best['condition']}"
        told.append(text + ".")
    return told


def _refused(row: Json) -> str:
    return f"{100 * row['metrics']['refused']['value']:.0f}%"


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
