"""From `make app` to the first usable screen, beyond importing torch, transformers and streamlit."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.measure import Line, seconds

_ROOT = Path(__file__).parents[1]
_IMPORTS = (
    "import torch, streamlit; from transformers import AutoModelForCausalLM, AutoTokenizer, "
    "LlamaForCausalLM"
)


def first_screen(rounds: int) -> Line | None:
    """Seconds until the chat can be typed into; None where there is no chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        imports, starts = [], []
        for _ in range(rounds):
            imports.append(
                seconds(lambda: subprocess.run([sys.executable, "-c", _IMPORTS], check=True))
            )
            starts.append(_until_usable(browser.new_page()))
        browser.close()
    beyond = statistics.median(s - i for s, i in zip(starts, imports, strict=True))
    detail = (
        f"{statistics.median(starts):.1f} s - {statistics.median(imports):.1f} s of imports, "
        f"{rounds} rounds"
    )
    return Line("start of the app beyond its imports", beyond, "s", 3.0, detail)


def _until_usable(page) -> float:  # type: ignore[no-untyped-def]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--server.port={port}", "--server.headless=true"]
    start = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", *options],
        cwd=_ROOT,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_server(f"http://127.0.0.1:{port}/_stcore/health")
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(".st-key-demo-1 button:not([disabled])", timeout=120_000)
        return time.perf_counter() - start
    finally:
        page.close()
        server.terminate()
        server.wait()


def _wait_for_server(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise TimeoutError("The app's server did not start within 60 seconds.")
