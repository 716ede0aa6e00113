"""A search for shares that is stopped goes on where it was, to the same path; another search is another."""

import re

import pytest
from tiny_models import tiny_model

from ssah_core import Prompt, PromptSet, create_run, save_roles, score
from ssah_core.errors import Cancelled, PromptError
from ssah_core.evaluation import share_job, share_search
from ssah_core.evaluation.metrics import Measured
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.share_job import about_search, find_shares
from ssah_core.evaluation.share_search import Criterion, SearchPlan, _most_trials
from ssah_core.keeping import list_kept
from ssah_core.reproduce import commands_of, python_of
from ssah_core.scoring import replies

SAFETY = PromptSet("safety", tuple(Prompt(f"do {n}", "no") for n in range(5)))
UTILITY = PromptSet("utility", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(5)))
ASKED = Questions(
    tuple(Question(f"make {n}", f"thing {n}") for n in range(3)),
    tuple(Question(f"say {n}", f"word {n}") for n in range(3)),
)
PLAN = SearchPlan(highest=0.2, step=0.05, reply_tokens=2)


@pytest.fixture(scope="module")
def scores():
    return score(tiny_model(), safety=SAFETY, utility=UTILITY)


@pytest.fixture
def run(tmp_path, scores):
    return create_run(tmp_path / "mine", tiny_model(), scores)


@pytest.fixture
def asked(monkeypatch):
    """How many replies each trial has asked the model for, and three replies a batch."""
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 40)
    made = []
    real = replies._replies_of

    def count(model, prompts, *rest):
        made.append(len(prompts))
        return real(model, prompts, *rest)

    monkeypatch.setattr(replies, "_replies_of", count)
    return made


def find(run, root, plan=PLAN, **telling):
    return find_shares(root, tiny_model(), run, ASKED, plan, **telling)


def stop_after(count, asked):
    return lambda: sum(asked) >= count


@pytest.mark.parametrize("count", [4, 7, 14])
def test_a_stopped_search_goes_on_to_the_same_path_and_asks_nothing_twice(run, asked, count):
    root = run.folder.parent
    whole = find(run, None)
    total = sum(asked)
    assert total == len(ASKED.all) * (1 + len(whole.path))
    asked.clear()
    with pytest.raises(Cancelled):
        find(run, root, cancelled=stop_after(count, asked))
    [stopped] = list_kept(root, "run")[-1:]
    assert not stopped.finished
    assert stopped.work == "search for shares"
    assert stopped.again.startswith(f"python -m ssah_core shares --run {run.folder}")
    seen = []
    again = find(run, root, report=seen.append)
    assert again.as_json() == whole.as_json()
    assert sum(asked) == total + 3  # the batch that was being written
    assert [path.name for path in root.iterdir()] == ["mine"]
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert all(progress.done <= progress.total for progress in seen)


def test_another_criterion_is_another_search_with_a_folder_of_its_own(run, asked):
    root = run.folder.parent
    for own_loss in (0.5, 0.2):
        plan = SearchPlan(Criterion(own_loss), highest=0.2, step=0.05, reply_tokens=2)
        limit = sum(asked) + 4
        with pytest.raises(Cancelled):
            find(run, root, plan, cancelled=stop_after(limit, asked))
    names = [path.name for path in root.iterdir() if path.name.startswith(".")]
    assert len(names) == 2
    assert all(re.fullmatch(r"\.shares of mine [0-9a-f]{8}\.partial", name) for name in names)


def test_the_same_prompts_may_find_shares_again_but_not_those_of_the_scoring(run):
    found = find(run, None)
    kept = save_roles(run, found.roles, search=found.as_json())
    assert find(kept, None).as_json() == found.as_json()
    scored = Questions((Question("do  1", "1"),), ASKED.harmless)
    with pytest.raises(PromptError, match="the units were scored on"):
        find_shares(None, tiny_model(), run, scored, PLAN)


def test_progress_tells_the_search_as_a_whole_and_ends_where_it_ends(run):
    seen = []
    found = find(run, None, report=seen.append)
    assert seen[0].stage == "asking the untouched model"
    assert seen[0].total == len(ASKED.all) * (1 + 3 * _most_trials(4))
    assert re.fullmatch(r"trying (RU|ESU|EUU) at \d+\.\d% of all units", seen[-1].stage)
    assert seen[-1].done == len(ASKED.all) * (1 + len(found.path))


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 8, 60, 100])
def test_no_bisection_takes_more_trials_than_foretold(most):
    longest, none = 0, Measured(0.0, 0.0, 0.0, 1)
    for border in range(most + 1):
        tried = []

        def trial(steps, border=border, tried=tried):
            tried.append(steps)
            return share_search.Tried("ESU", steps, 1, none, none, steps <= border, True)

        assert share_search._largest(most, trial) == border
        longest = max(longest, len(tried))
    assert longest == _most_trials(most)


def test_the_commands_of_a_search_say_all_that_leads_it(run):
    about = about_search(run, Questions(ASKED.harmful, ASKED.harmless, sources={"harmful": "a b.csv", "harmless": "c.csv"}), PLAN)  # fmt: skip
    command = commands_of(about, "mine")
    for part in ("--harmful 'a b.csv'", "--own-loss 50", "--other-loss 3", "--highest 0.2",
                 "--step 0.05", "--tokens prompt", "--kinds both", "--max-new-tokens 2"):  # fmt: skip
        assert part in command
    compile(python_of(about, "mine"), "recipe", "exec")
    assert "FILE" in commands_of(about_search(run, ASKED, PLAN), "mine")
    assert share_job.is_shipped(run) is False
