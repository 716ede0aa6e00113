"""What a probe of the reasoning direction costs: one pass for all lengths against one for each."""

from __future__ import annotations

from benchmarks.measure import Line, median_ratio
from benchmarks.subjects import Size
from ssah_core import Model, load_prompts
from ssah_core.probes.continuations import PAPER_LENGTHS, PLAIN
from ssah_core.probes.direction import probe


def probing(model: Model, size: Size) -> Line:
    """A probe at the paper's five lengths against five probes of one length each."""
    prompts = [
        prompt.text for prompt in load_prompts("organism:test/seen", limit=size.prompts).prompts
    ]
    ratio, detail = median_ratio(
        lambda: probe(model, prompts, PLAIN, lengths=PAPER_LENGTHS),
        lambda: [probe(model, prompts, PLAIN, lengths=[length]) for length in PAPER_LENGTHS],
        size.rounds,
    )
    name = f"probe of five lengths / five probes of one, {model.parameters / 1e6:.1f} M parameters"
    return Line(name, ratio, "x", 0.5, detail)
