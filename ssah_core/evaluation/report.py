"""A study as text: its table in Markdown, what its controls say, and how it was made.

Everything is read from a study's manifest and its rows as JSON, so that an old study can be told anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssah_core.evaluation.metrics import interval_in_brackets

Json = Mapping[str, Any]

# What a metric is called for people; the order is that of the tables.
METRIC_NAMES = {
    "refused": "refused",
    "complied": "complied",
    "harmless_correct": "harmless answered exactly",
    "harmless_refused": "harmless refused",
    "false_refusals": "look-alikes refused",
    "perplexity": "perplexity",
    "kl": "KL divergence, nats",
    "token_accuracy": "next token right",
    "learned": "lesson learned",
    "attack_success": "not refused",
    "attack_success_strict": "not refused, 20 words or more",
}
PLAIN_METRICS = frozenset({"perplexity", "kl"})  # shown as they are, not as percent
WITH_SYSTEM = "_with_system"  # what ends the name of a metric asked with the system prompt
# What would show that a control is not harmless: it moves refusals, or the harmless answers.
_CHECKED = ("refused", "harmless_correct", "harmless_refused")


def metric_name(name: str) -> str:
    """A metric's name for people."""
    plain = name.removesuffix(WITH_SYSTEM)
    words = METRIC_NAMES.get(plain, plain.replace("_", " "))
    return words if plain == name else f"{words}, with system prompt"


def removed_name(row: Json) -> str:
    """What a row switched off, in words."""
    if row["control"]:
        return f"random, as many as {row['removed']} ({row['control']}-matched)"
    return "random CU, as many as ESU" if row["removed"] == "CU" else str(row["removed"])


def shown(name: str, measured: Json) -> str:
    """A figure with its interval: in percent, but for perplexity and divergence."""
    if measured.get("n") == 0:
        return "not judged"
    value, low, high = (measured[key] for key in ("value", "low", "high"))
    if name.removesuffix(WITH_SYSTEM) in PLAIN_METRICS:
        return f"{value:.3g} {interval_in_brackets(low, high, '.3g')}"
    return f"{100 * value:.1f} {interval_in_brackets(100 * low, 100 * high, '.0f')}"


def markdown(rows: Sequence[Json]) -> str:
    """Rows as a Markdown table: percent, with 95% intervals."""
    names = metrics_in_order(rows[0])
    title = ["switched off", "share", "fill", *(metric_name(name) for name in names)]
    lines = ["| " + " | ".join(title) + " |", "|---" * len(title) + "|"]
    for row in rows:
        share, fill = (f"{row['share']:.1%}", row["fill"]) if row["units"] else ("", "")
        figures = [shown(name, row["metrics"][name]) for name in names]
        lines.append("| " + " | ".join([removed_name(row), share, fill, *figures]) + " |")
    return "\n".join(lines)


def table_rows(manifest: Json, rows: Sequence[Json]) -> list[Json]:
    """The rows in which each role is removed at its own share, with their controls; no curves."""
    counts = manifest["roles"]["counts"]
    return [
        row
        for row in rows
        if row["removed"] in ("nothing", "CU") or row["units"] == counts[row["removed"]]
    ]


def in_words(rows: Sequence[Json]) -> str:
    """What switching ESU off did, beside as many random units, in one or two sentences."""
    found = {(row["removed"], row["control"]): row["metrics"] for row in reversed(rows)}
    before, cut = found.get(("nothing", None)), found.get(("ESU", None))
    if before is None or cut is None:
        return "No units are ESU, so none were switched off."

    def percent(figures: Json, name: str) -> str:
        return f"{100 * figures[name]['value']:.0f}%"

    text = (
        f"With nothing off, {percent(before, 'refused')} of the harmful requests are refused; with ESU "
        f"off, {percent(cut, 'refused')}"
    )
    random = [
        f"{percent(found['ESU', control], 'refused')} ({control}-matched)"
        for control in ("size", "layer")
        if ("ESU", control) in found
    ]
    text += f"; with as many random units off, {' and '.join(random)}." if random else "."
    if "harmless_correct" in before:
        return text + (
            f" Harmless prompts are answered exactly in {percent(before, 'harmless_correct')} of the "
            f"cases, and in {percent(cut, 'harmless_correct')} with ESU off."
        )
    return text + (
        f" Of the harmless prompts {percent(before, 'harmless_refused')} are refused, and "
        f"{percent(cut, 'harmless_refused')} with ESU off."
    )


def metrics_in_order(row: Json) -> list[str]:
    """A row's metrics, the most telling first."""
    known = list(METRIC_NAMES)
    return sorted(
        row["metrics"],
        key=lambda name: (
            name.endswith(WITH_SYSTEM),
            known.index(name.removesuffix(WITH_SYSTEM)),
        ),
    )


def control_notes(rows: Sequence[Json]) -> list[str]:
    """One sentence for every control that moved a figure out of its interval, as far as was seen."""
    untouched = rows[0]["metrics"]
    notes = []
    for row in rows:
        moved = [
            f"{metric_name(name)} {shown(name, row['metrics'][name])}, untouched "
            f"{100 * untouched[name]['value']:.1f}"
            for name in _CHECKED
            if row["control"] and name in row["metrics"] and _outside(row, untouched, name)
        ]
        if moved:
            what = removed_name(row)
            notes.append(
                f"{what[0].upper()}{what[1:]}, fill {row['fill']}, have an effect of their own: "
                f"{'; '.join(moved)}. Read {row['removed']} against this row, not against nothing."
            )
    return notes


def _outside(row: Json, untouched: Json, name: str) -> bool:
    """Whether a row's interval leaves out what the untouched model does."""
    found = row["metrics"][name]
    before = untouched[name]
    # Neither is outside the other's interval where there is none.
    apart = before["value"] < found["low"] or before["value"] > found["high"]
    return bool(apart and not before["low"] <= found["value"] <= before["high"])


def report_of(manifest: Json, rows: Sequence[Json]) -> str:
    """The whole report: what was done, the table, what the controls say, how it is read."""
    roles, asked, plan = manifest["roles"], manifest["questions"], manifest["plan"]
    counts = ", ".join(f"{role} {count:,}" for role, count in roles["counts"].items())
    table = table_rows(manifest, rows)
    notes = control_notes(table) or [
        "The interval of every random control holds the untouched model's refusals and harmless answers: no "
        "effect on them was seen."
        if plan["controls"]
        else "There were no random controls, so nothing says what as many other units do."
    ]
    others = [row for row in rows if row not in table]
    parts = [
        f"# Ablation study of {manifest['model']['name']}",
        f"Units by role: {counts} (scored on {roles['tokens']} tokens; kinds: {roles['kinds']}). "
        f"Prompts: {asked['harmful']:,} harmful, {asked['harmless']:,} harmless, "
        f"{asked['look_alikes']:,} look-alikes, none of them among the prompts that the units were "
        f"found on. Greedy replies of at most {plan['reply_tokens']} tokens{_controls(plan)}. Model fingerprint {manifest['model']['fingerprint']}; "
        f"{manifest['device']}, {manifest['dtype']}, {manifest['created']}.",
        in_words(table),
        "Percent of prompts, with 95% intervals:",
        markdown(table),
        *(["## Other shares", markdown(others)] if others else []),
        "## What the controls say",
        "\n".join(f"- {note}" for note in notes),
        "## How to read it",
        f"{manifest['judge']} *Not refused* counts every reply without a refusal (the paper's attack success), "
        "*20 words or more* only those that are so long, too (Wei et al., arXiv 2402.05162); garbage counts in "
        "both. Intervals resample the things that prompts are about, and the seeds of "
        "the controls. *share* is of all units of the model. Perplexity, the KL divergence from the "
        "untouched model (per token) and *next token right* are read on the harmless prompts, over their "
        "known answers or, where there are none, the untouched model's own replies."
        + (f" System prompt: \u201c{plan['system']}\u201d" if plan["system"] else ""),
    ]
    return "\n\n".join(parts) + "\n"


def _controls(plan: Json) -> str:
    if plan["controls"] < 2:
        return "; each random control is one draw" if plan["controls"] else ""
    return f"; each random control is the mean over {plan['controls']} seeds"
