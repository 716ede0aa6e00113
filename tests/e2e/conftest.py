"""A real server and a real browser. Without chromium the tier is skipped, and .ci/run fails on that."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from made_scores import made_anatomy, made_scores
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from ssah_core import load_model
from ssah_core.models.sources import ORGANISMS
from ssah_core.runs import create_run

ROOT = Path(__file__).parents[2]
expect.set_options(timeout=60_000)  # milliseconds; the machine may be busy
BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        message = "No chromium was found; install it (on Debian: apt install chromium)."
        if os.environ.get("SSAH_REQUIRE_E2E") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=BROWSER_OPTIONS)
        yield started
        started.close()


@contextmanager
def running_app(script: Path, folder: Path, **environment: str) -> Iterator[str]:
    """Serve an app on a free port of this machine, with runs of its own; gives its address."""
    log = folder / "log.txt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--server.port={port}", "--server.headless=true"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), *options],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SSAH_RUNS": str(folder / "runs"),
                "SSAH_MODELS": str(folder / "models"),
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_server(f"http://127.0.0.1:{port}/_stcore/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # a model at work may hold it up
            process.kill()
            process.wait()


def wait_for_server(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"The app's server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    """The app as `make app` serves it, with a run of a model of 7B size and a model in a folder."""
    folder = tmp_path_factory.mktemp("server")
    scores = made_scores(made_anatomy(layers=32, heads=32, channels=11_008), 0)
    (folder / "runs").mkdir()
    create_run(folder / "runs" / "large", load_model("organism:planted", device="cpu"), scores)
    shutil.copytree(ORGANISMS / "planted", folder / "models" / "mine")
    with running_app(ROOT / "app.py", folder, SSAH_MODELS=str(folder / "models")) as address:
        yield address


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory) -> Iterator[str]:
    """The same app on a slow model: time to press Stop."""
    script = Path(__file__).with_name("slow_app.py")
    with running_app(script, tmp_path_factory.mktemp("slow")) as address:
        yield address


@pytest.fixture
def serve(tmp_path) -> Callable[[], AbstractContextManager[str]]:
    """Serves the app once more, with the environment as it is then; gives its address."""

    def start() -> AbstractContextManager[str]:
        given = {name: os.environ[name] for name in ("SSAH_RUNS",) if name in os.environ}
        return running_app(ROOT / "app.py", tmp_path, **given)

    return start


@pytest.fixture
def context(browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()
