"""`python -m benchmarks`: measure every line and print the table as Markdown."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.lines import all_lines
from benchmarks.measure import Line
from benchmarks.startup import first_screen
from benchmarks.subjects import FULL, SMOKE


def main() -> None:
    """Measure, print, and keep the figures where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only proves that it runs")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    size = SMOKE if options.smoke else FULL
    lines = all_lines(size, options.device)
    start = first_screen(1 if options.smoke else 3)
    lines += [start] if start else []
    print(_table(lines))
    if options.smoke:
        print("\nTiny sizes: this proves that every line runs; the figures mean nothing.")
    if start is None:
        print("\nNot measured: the start of the app, which needs chromium.")
    if options.json:
        options.json.write_text(json.dumps(_record(lines, options.device), indent=1) + "\n")


def _table(lines: list[Line]) -> str:
    rows = ["| what | figure | limit | | medians |", "|---|---|---|---|---|"]
    for line in lines:
        verdict = "kept" if line.within else "missed"
        rows.append(
            f"| {line.name} | {line.value:.3f} {line.unit} | {line.limit:g} {line.unit} "
            f"| {verdict} | {line.detail} |"
        )
    return "\n".join(rows)


def _record(lines: list[Line], device: str) -> dict[str, object]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "lines": [asdict(line) for line in lines],
    }


if __name__ == "__main__":
    main()
