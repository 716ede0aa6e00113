"""What the tests of the screens share: a visit of the app, and a place for runs of each test's own."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from pages import parts
from pages.parts import places
from pages.parts.jobs import jobs
from pages.parts.models import slot

ROOT = Path(__file__).parents[2]
# All of them now: a part that is first imported within a test would keep that test's folders.
PARTS = [
    importlib.import_module(f"pages.parts.{found.name}")
    for found in pkgutil.iter_modules(parts.__path__)
]
LONGEST_WAIT = 120  # seconds; everything here takes a moment, but the machine may be busy


class Visit(AppTest):
    """One browser tab on the app, with what a person does in it.

    A screen that ends in a traceback fails the test, whatever led there. As in a browser, the app is
    entered by its frame: the frame alone knows the pages that links lead to.
    """

    def __repr__(self) -> str:
        return "Visit"  # the whole screen, as AppTest writes it, buries what failed

    def _run(self, *arguments: Any, **options: Any) -> AppTest:
        super()._run(*arguments, **options)
        self._page_hash = (
            ""  # stay where the app led, as a browser does, not where it was sent from
        )
        assert not self.exception, self.exception[0].stack_trace
        return self

    def go_to(self, page: str) -> Visit:
        """Open a page by its name, as the navigation does."""
        self.switch_page(f"pages/{page}.py").run()
        return self

    def press(self, label: str) -> Visit:
        """Press the one button that has this label."""
        [button] = [button for button in self.button if button.label == label]
        button.click().run()
        return self

    def labels(self) -> list[str]:
        """The labels of all buttons that are there."""
        return [button.label for button in self.button]

    def shows(self, part: str) -> bool:
        """Whether any text on the screen or in the sidebar holds this, as people read it."""
        texts = (self.markdown, self.caption, self.text, self.info, self.success, self.error)
        read = [element.value.replace("\\", "") for elements in texts for element in elements]
        return any(part in text for text in read)

    @property
    def switched_off(self) -> str:
        """What the sidebar says under "Switched off"."""
        [said] = self.sidebar.text
        return said.value

    def charts(self) -> list[dict[str, Any]]:
        """The charts that are drawn, as plotly reads them."""
        return [json.loads(chart.proto.spec) for chart in self.get("plotly_chart")]

    def drag_a_box(self, x: tuple[float, float], y: tuple[float, float]) -> Visit:
        """Drag a box on the one chart: what the browser sends then, the widgets' own states besides."""
        [chart] = self.get("plotly_chart")
        box = {"xref": "x", "yref": "y", "x": list(x), "y": list(y)}
        selection = {"points": [], "point_indices": [], "box": [box], "lasso": []}
        states = self._tree.get_widget_states()
        sent = WidgetState(id=chart.proto.id, string_value=json.dumps({"selection": selection}))
        states.widgets.append(sent)
        self._run(states)
        return self


Open = Callable[..., Visit]


@pytest.fixture(autouse=True, scope="session")
def components_found_once() -> Iterator[None]:
    """Every visit would look through all installed packages for components: most of its time."""
    with pytest.MonkeyPatch.context() as patch:
        scan = cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


@pytest.fixture(autouse=True)
def runs(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Empty folders for runs, studies and models, no job; the planted model is open, and alone."""
    folders = {name: tmp_path_factory.mktemp(name.lower()) for name in ("RUNS", "STUDIES")}
    for part in PARTS:
        for name in folders.keys() & vars(part).keys():
            monkeypatch.setattr(part, name, folders[name])
    monkeypatch.setattr(places, "_MODELS", tmp_path_factory.mktemp("models"))
    jobs().current = None
    slot().open("organism:planted")
    slot().close_beside()
    yield folders["RUNS"]
    job = jobs().current
    if job is not None:
        job.stop()
        assert job.finished.wait(LONGEST_WAIT)
        jobs().current = None


@pytest.fixture
def visit() -> Open:
    """Opens the app on a page; what is named besides stands in the page's address."""

    def open_page(page: str, **query: str | list[str]) -> Visit:
        app = Visit(ROOT / "app.py", default_timeout=LONGEST_WAIT)
        app.query_params.update(query)
        app.run()
        return app.go_to(page)

    return open_page
