"""What scoring keeps in memory; each measurement is a process of its own."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from benchmarks.measure import Line
from benchmarks.subjects import FULL, SMOKE, Size, long_prompts, random_llama
from ssah_core.scoring.score import collect_moments


def memory(size: Size) -> Line:
    """Peak memory of scoring 10 times the prompts against once, each time in a process of its own.

    What the allocator keeps differs from process to process, so each is measured several times.
    """
    rounds = 1 if size is SMOKE else 3
    few, many = (
        statistics.median(_peak_mib(count, size) for _ in range(rounds))
        for count in (size.prompts, 10 * size.prompts)
    )
    detail = (
        f"{many:.0f} MiB for {10 * size.prompts} prompts / {few:.0f} MiB for {size.prompts}, "
        f"{rounds} rounds"
    )
    return Line("peak memory, 10 times the prompts", many / few, "x", 1.05, detail)


def _peak_mib(prompts: int, size: Size) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(prompts), str(int(size is SMOKE))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _score_and_print_peak(prompts: int, size: Size) -> None:
    collect_moments(random_llama(size, "cpu"), long_prompts(prompts), stage="bench")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    _score_and_print_peak(int(sys.argv[1]), SMOKE if int(sys.argv[2]) else FULL)
