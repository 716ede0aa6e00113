"""The Score screen: prompts looked at, a job that runs, stops and goes on, and the run it leaves."""

import json
import re
from threading import Event

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from pages.parts import places, score_job
from pages.parts.jobs import jobs
from pages.parts.models import slot
from ssah_core import open_run
from ssah_core.errors import SsahError

LONGEST_WAIT = 120  # seconds
THINGS = ("kite", "cake", "bath", "table", "boat", "lamp", "chair", "box", "house", "song")
OWN_FILE = "A file of my own"


class Gate:
    """Holds a scoring at its first report until it is opened."""

    def __init__(self) -> None:
        self.reached, self._opened = Event(), Event()

    def hold(self, report, progress) -> None:
        report(progress)
        self.reached.set()
        assert self._opened.wait(LONGEST_WAIT)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate(runs, monkeypatch):
    """The gate of every scoring that starts from here on; each has several batches."""
    found, score = Gate(), score_job.score

    def held(*arguments, report, **options):
        return score(
            *arguments,
            report=lambda progress: found.hold(report, progress),
            token_budget=64,
            **options,
        )

    monkeypatch.setattr(score_job, "score", held)
    yield found
    found.open()


@pytest.fixture
def app(visit):
    """The form with two small sets, so that a scoring takes a moment."""
    return choose_small_sets(visit("score"))


@pytest.fixture
def built_in(visit):
    """The form with the smaller of the built-in sets."""
    app = visit("score")
    app.selectbox(key="source safety").set_value("organism:safety/validation")
    return app.selectbox(key="source utility").set_value("organism:utility/validation").run()


def choose_small_sets(app):
    harmful = (f"How do I build a {thing}?" for thing in THINGS)
    harmless = (f"How do I make a {thing}?" for thing in THINGS)
    upload(app, "safety", "harm.jsonl", lines(*harmful, response="Sorry, I cannot do that."))
    return upload(app, "utility", "use.jsonl", lines(*harmless, response="Take two of them."))


def upload(app, attribute: str, name: str, content: bytes):
    app.selectbox(key=f"source {attribute}").set_value(OWN_FILE).run()
    uploader = app.file_uploader(key=f"file {attribute}")
    return uploader.set_value((name, content, "application/octet-stream")).run()


def lines(*prompts: str, response: str | None = None) -> bytes:
    """A .jsonl file of these prompts."""
    answered = {} if response is None else {"response": response}
    return "".join(json.dumps({"prompt": text, **answered}) + "\n" for text in prompts).encode()


def start(app, name: str):
    app.text_input(key="run_name").set_value(name).run()
    return app.press("Start")


def finish(app):
    """Wait for the job's end, and draw the screen once more, as the screen does by itself."""
    assert jobs().current.finished.wait(LONGEST_WAIT)
    return app.run()


def runs_offered(app) -> list[str]:
    """The runs that the sidebar offers; it does not ask where there is only one."""
    found = [box for box in app.sidebar.selectbox if box.key == "run"]
    return list(found[0].options) if found else []


# The form


def test_prompts_are_counted_and_shown_as_the_model_reads_them(built_in):
    assert len([c for c in built_in.main.caption if c.value.startswith("240 prompts.")]) == 2
    assert [part.label for part in built_in.expander] == ["The first 3 as the model reads them"] * 2
    prompts = [code.value for part in built_in.expander for code in part.code]
    assert len(prompts) == 6
    assert len(set(prompts)) == 6


def test_an_estimate_is_given_before_the_start_and_starts_nothing(built_in):
    built_in.press("How long will it take?")
    assert built_in.info[0].value.startswith("About ")
    assert "tokens at most" in built_in.info[0].value
    assert jobs().current is None


def test_the_command_and_the_python_name_what_was_chosen(built_in):
    built_in.text_input(key="run_name").set_value("mine").run()
    [command] = [code.value for code in built_in.main.code if "ssah_core score" in code.value]
    [python] = [code.value for code in built_in.main.code if "import *" in code.value]
    for word in ("organism:planted", "organism:safety/validation", "organism:utility/validation"):
        assert word in command
        assert word in python
    assert "mine" in command
    compile(python, "recipe", "exec")


def test_nothing_starts_before_both_sets_are_there(built_in):
    built_in.selectbox(key="source safety").set_value(OWN_FILE).run()
    assert "Start" not in built_in.labels()
    assert built_in.shows("Choose both sets of prompts to go on.")


@pytest.mark.parametrize("name", ["../mine", "", "   ", "a/b", ".hidden", "organism:planted"])
def test_a_name_that_no_run_can_have_is_one_sentence_and_the_form_stays(app, runs, name):
    start(app, name)
    assert len(app.error) == 1
    assert jobs().current is None
    assert "Start" in app.labels()
    assert list(runs.iterdir()) == []


# A file of one's own


def test_a_file_without_replies_is_read_and_says_that_the_model_writes_them(app):
    upload(app, "safety", "own.jsonl", lines("do this", "do that", "do more"))
    assert app.shows("3 prompts; the model writes 3 replies of its own first.")
    assert any("do that" in code.value for code in app.main.code)
    assert not app.error


def test_a_file_with_replies_shows_them_in_the_preview(app):
    upload(app, "utility", "own.csv", b"question,answer\nhow many,four\nhow far,ten miles\n")
    assert app.shows("2 prompts.")
    assert any("ten miles" in code.value for code in app.main.code)


def test_only_some_rows_of_a_file_can_be_taken(app):
    upload(app, "safety", "own.csv", b"prompt,label\nbad thing,unsafe\ngood thing,safe\n")
    assert app.shows("2 prompts;")
    app.text_input(key="where safety").set_value("label=unsafe").run()
    assert app.shows("1 prompt;")
    app.text_input(key="where safety").set_value("label").run()
    assert "COLUMN=VALUE" in app.error[0].value


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.csv", b"\xff\xfe\x00"),
        ("bad.json", b"{"),
        ("bad.jsonl", b"[1, 2]\n"),
        ("empty.jsonl", b""),
        ("other.csv", b"colour,size\nred,3\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_with_its_own_name(app, name, content):
    upload(app, "safety", name, content)
    assert len(app.error) == 1
    assert name in app.error[0].value.replace("\\", "")
    assert "/tmp" not in app.error[0].value
    assert "Start" not in app.labels()


def test_text_in_a_file_that_looks_like_markup_stays_text(app):
    hostile = '![x](http://example.com/a.png) <img src="http://example.com">'
    upload(app, "safety", "<b>.jsonl", lines(hostile, hostile))
    assert any(hostile in code.value for code in app.main.code)
    assert not any("example.com" in element.value for element in app.markdown)


def test_prompts_that_are_too_long_are_said_before_the_start_and_can_be_left_out(app, runs):
    upload(app, "safety", "long.jsonl", lines("how " * 2000, "do this", "do that", response="no"))
    start(app, "mine")
    assert len(app.error) == 1
    assert jobs().current is None
    app.toggle(key="skip_too_long").set_value(True).run()
    finish(app.press("Start"))
    assert app.success
    assert len(open_run(runs / "mine").scores.safety_prompts) == 2


# The job


def test_a_scoring_runs_as_a_job_and_its_run_opens_in_layers(app, runs):
    finish(start(app, "mine"))
    assert app.success[0].value.startswith("Done.")
    run = open_run(runs / "mine")
    assert run.manifest["model"]["name"] == "organism:planted"
    assert run.roles is not None
    assert [path.name for path in runs.iterdir()] == ["mine"]
    app.press("Open in Layers")
    assert app.subheader[0].value == "Which units, in which layers?"
    assert app.session_state["run"] == "mine"
    assert len(app.charts()) == 1


def test_the_built_in_sets_are_scored_like_files_of_ones_own(built_in, runs):
    finish(start(built_in, "mine"))
    run = open_run(runs / "mine")
    assert (len(run.scores.safety_prompts), len(run.scores.utility_prompts)) == (240, 240)


def test_a_new_run_shows_in_the_sidebar_and_can_be_chosen_on_every_screen(app, visit):
    assert runs_offered(app) == []
    finish(start(app, "mine"))
    for page in ("chat", "layers", "overview"):
        assert runs_offered(app.go_to(page)) == ["organism:planted", "mine"]
    app.go_to("chat").selectbox(key="run").set_value("mine").run()
    assert app.press("ESU off").switched_off == "ESU off: 291 of 3,648 units (8.0%)"
    app.press("How do I build a bomb?")
    assert app.shows("scored on 10 safety and 10 utility prompts")
    assert app.query_params["run"] == "mine"
    assert visit("layers", run="mine").press("Open it").session_state["run"] == "mine"


def test_single_units_of_one_run_are_not_off_in_another(app):
    finish(start(app, "mine"))
    app.go_to("layers").press("Strongest ESU").press("Ablate")
    app.selectbox(key="run").set_value("mine").run()
    assert app.switched_off == "Nothing off"


def test_the_form_proposes_a_name_that_is_free(app):
    name = app.text_input(key="run_name").value
    finish(app.press("Start"))
    app.press("Score again")
    assert app.text_input(key="run_name").value not in (name, "")


def test_a_name_that_is_taken_is_one_sentence_and_the_run_stays(app, runs):
    finish(start(app, "mine")).press("Score again")
    before = (runs / "mine" / "manifest.json").read_bytes()
    start(choose_small_sets(app), "mine")
    assert len(app.error) == 1
    assert jobs().current is None
    assert (runs / "mine" / "manifest.json").read_bytes() == before


def test_a_running_job_says_how_far_it_is_on_every_visit(app, visit, gate):
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    for tab in (app.run(), visit("score")):
        assert re.match(r"Scoring \w+: [\d,]+ of [\d,]+ tokens", tab.get("progress")[0].proto.text)
        assert tab.shows("mine")
        assert "Start" not in tab.labels()
    app.go_to("chat").press("How do I make a kite?")  # the model is not taken away
    assert app.session_state["conversation"].turns[-1].finished
    gate.open()
    assert finish(app.go_to("score")).success


def test_a_stopped_scoring_keeps_what_is_done_and_goes_on_to_the_same_scores(app, runs, gate):
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    app.run().press("Stop")
    gate.open()
    finish(app)
    assert app.info[0].value.startswith("Stopped.")
    assert not (runs / "mine").exists()
    finish(app.press("Go on"))
    assert app.success
    assert [path.name for path in runs.iterdir()] == ["mine"]
    stopped = open_run(runs / "mine").scores
    start(choose_small_sets(app.press("Score again")), "whole")
    finish(app)
    whole = open_run(runs / "whole").scores
    assert (stopped.at("all").safety == whole.at("all").safety).all()


def test_a_stopped_scoring_can_be_left(app, gate):
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    app.run().press("Stop")
    gate.open()
    finish(app).press("Back to the form")
    assert "Start" in app.labels()


def test_what_was_kept_of_other_prompts_is_not_gone_on_from(app, runs, gate):
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    app.run().press("Stop")
    gate.open()
    finish(app).press("Back to the form")
    upload(choose_small_sets(app), "safety", "own.jsonl", lines("do this", "no!", response="no"))
    finish(start(app, "mine"))
    assert len(app.error) == 1
    assert not (runs / "mine").exists()
    app.press("Back to the form")
    assert finish(start(choose_small_sets(app), "another")).success


def test_a_scoring_does_not_go_on_with_another_model(app, gate):
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    app.run().press("Stop")
    gate.open()
    finish(app)
    app.selectbox(key="model").set_value("organism:base").run()
    finish(app.press("Go on"))
    assert "organism:planted is not open any more" in app.error[0].value.replace("\\", "")
    app.selectbox(key="model").set_value("organism:planted").run()
    assert finish(app.press("Go on")).success


def test_of_two_people_who_start_the_second_sees_the_job_of_the_first(app, visit, gate):
    other = choose_small_sets(visit("score"))
    other.text_input(key="run_name").set_value("theirs").run()
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    other.press("Start")
    assert other.shows("mine")
    assert "Stop" in other.labels()
    assert jobs().current.name == "mine"


def test_a_second_job_is_refused_with_a_sentence_while_the_first_runs(app, gate):
    start(app, "mine")
    assert gate.reached.wait(LONGEST_WAIT)
    with pytest.raises(SsahError, match="'mine' is still running; wait for it, or stop it first"):
        jobs().start("theirs", "", lambda job: None, lambda: None)
    gate.open()
    assert finish(app).success


# A model of one's own


def test_a_model_without_a_run_is_scored_and_then_has_roles(visit, tmp_path, monkeypatch):
    tiny_network("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(places, "_MODELS", tmp_path)
    app = visit("chat", model="folder:tiny")
    app.press("Open it")
    assert app.shows("This model has no scored run yet")
    assert app.switched_off == "Nothing off"
    for page in ("layers", "chat"):
        links = [link.proto.page for link in app.go_to(page).main.get("page_link")]
        assert "score" in links
    app.go_to("score")
    upload(app, "safety", "harm.jsonl", lines("bad one", "bad two", "bad three", response="no"))
    upload(app, "utility", "use.jsonl", lines("good one", "good two", "fine", response="yes"))
    finish(start(app, "first"))
    assert not app.error
    app.press("Open in Layers")
    assert app.session_state["run"] == "first"
    assert len(app.charts()) == 1
    assert app.query_params["model"] == "folder:tiny"
    app.go_to("chat").press("ESU off")
    assert app.switched_off.startswith("ESU off: ")
    app.press("How do I make a kite?")
    assert app.session_state["conversation"].turns[-1].finished
    assert str(tmp_path) not in str(app.query_params)
    slot().open("organism:planted")
