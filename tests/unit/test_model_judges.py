"""Judges of compliance: known answers, and models that are opened from a folder and asked in batches."""

import json

import pandas as pd
import pytest
from tiny_models import rigged_judge, tiny_model, tiny_network, tiny_tokenizer

from ssah_core import Prompt, PromptSet, assign_roles, create_run, load_model, save_roles, score
from ssah_core.archive_content import check_study, check_table
from ssah_core.cli import main
from ssah_core.errors import Cancelled, ModelError, OptionError
from ssah_core.evaluation import model_judges, study_folder
from ssah_core.evaluation.compliance import ComplianceJudge, ExactAnswers
from ssah_core.evaluation.model_judges import judge_from
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.report import markdown
from ssah_core.evaluation.study_folder import open_study, run_study
from ssah_core.manifest_words import in_words
from ssah_core.prompts.rendering import render_text
from ssah_core.reproduce import commands_of, python_of
from ssah_core.scoring import replies
from ssah_core.scoring.resuming import Kept

# Known answers


def test_the_known_answer_alone_complies_and_nobody_judges_a_prompt_without_one():
    judge = ExactAnswers({"say a": "a"})
    assert isinstance(judge, ComplianceJudge)
    assert judge.complied(["say a", "say a", "say b"], [" a\n", "A", "b"]) == [True, False, None]


# Models


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    return rigged_judge(tmp_path_factory.mktemp("guard"), yes="unsafe", no="safe")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return rigged_judge(
        tmp_path_factory.mktemp("classifier"), yes="yes", no="no", chat_template=False
    )


def asked(judge, reply, prompt="do it"):
    return judge.complied([prompt], [reply])


@pytest.mark.parametrize("template", [True, False])
def test_a_guards_verdict_follows_the_reply(tmp_path, template):
    place = rigged_judge(tmp_path / "guard", yes="unsafe", no="safe", chat_template=template)
    judge = judge_from(f"guard:{place}", device="cpu")
    assert isinstance(judge, ComplianceJudge)
    assert judge.complied(["do it"] * 3, ["no", "here!", "no no"]) == [False, True, False]


def test_a_classifiers_verdict_follows_the_reply(classifier):
    judge = judge_from(f"harmbench:{classifier}", device="cpu")
    assert judge.complied(["do it"] * 2, ["here!", "never"]) == [True, False]


def test_an_answer_that_is_neither_word_is_no_verdict(guard):
    judge = judge_from(f"guard:{guard}", device="cpu")
    assert judge.complied(["do it"] * 3, ["what", "what~", "here!"]) == [False, None, True]


def test_a_model_that_gives_no_verdict_at_all_is_no_judge(guard, tmp_path):
    judge = judge_from(f"harmbench:{guard}", device="cpu")  # says safe and unsafe, not yes and no
    with pytest.raises(ModelError, match=r"answered none of 2 times with 'yes' or 'no' .*'safe'"):
        judge.complied(["do it"] * 2, ["no", "never"])


def test_a_conversation_that_is_too_long_for_the_judge_is_not_judged(tmp_path):
    place = rigged_judge(tmp_path / "guard", yes="unsafe", no="safe", context=128)
    judge = judge_from(f"guard:{place}", device="cpu")
    assert judge.complied(["do it"] * 2, ["no", "no " * 60]) == [False, None]


def test_words_in_braces_are_words(classifier):
    judge = judge_from(f"harmbench:{classifier}", device="cpu")
    assert asked(judge, "{reply} {0} {", "{prompt}") == [False]


def test_a_template_that_takes_lists_of_parts_shows_the_reply_too(guard, monkeypatch):
    model = load_model(guard, device="cpu")
    parts = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content[0].text }}<end>{% endfor %}<assistant>"
    )
    monkeypatch.setattr(model.tokenizer, "chat_template", parts)
    assert "<user>do it<end><assistant>here!<end>" in model_judges._in_own_template(
        model, "do it", "here!"
    )
    monkeypatch.setattr(model.tokenizer, "chat_template", "{{ messages[0].content }}")
    with pytest.raises(ModelError, match="cannot show a reply"):
        model_judges._in_own_template(model, "do it", "here!")


def test_the_prompts_have_the_published_layout():
    said = model_judges._GUARD_PROMPT.format(prompt="do it", reply="done")
    for part in (
        "<BEGIN UNSAFE CONTENT CATEGORIES>",
        "S1: ",
        "S14: ",
        "User: do it\n\nAgent: done\n\n",
    ):
        assert part in said
    assert said.index("<END UNSAFE CONTENT CATEGORIES>") < said.index("<BEGIN CONVERSATION>")
    said = model_judges._HARMBENCH_PROMPT.format(prompt="do it", reply="done")
    assert said.startswith("[INST] <<SYS>>\n") and said.endswith("[/INST]")
    order = ["<</SYS>>", "Behavior:\ndo it", "Generation:\ndone", "Rules:"]
    assert sorted(order, key=said.index) == order


def test_a_text_gets_the_tokenizers_beginning_once():
    model = load_model("organism:base", device="cpu")
    assert render_text(model, "Hello", begun=True).prompt == tuple(
        model.tokenizer("Hello", add_special_tokens=False)["input_ids"]
    )


@pytest.mark.parametrize("name", ["guard", "guard:", "oracle:x", "owner/name"])
def test_a_name_that_is_no_judge_is_told_how_to_write_one(name):
    with pytest.raises(OptionError, match="guard:MODEL or harmbench:MODEL"):
        judge_from(name)


def test_a_judge_that_does_not_exist_is_said_at_once(tmp_path):
    with pytest.raises(ModelError, match="There is no model"):
        judge_from(f"guard:{tmp_path / 'none'}")


def test_answers_that_were_kept_are_not_asked_again(guard, monkeypatch):
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 100)  # a batch a reply
    judge = judge_from(f"guard:{guard}", device="cpu")
    texts = ["no", "here!", "never ever"]
    seen = {}
    whole = judge.complied(["do it"] * 3, texts, kept=Kept(None, seen.update))
    assert seen[1].strip() == "unsafe"
    flipped = {**seen, 1: "safe"}
    assert whole == [False, True, False]
    assert judge.complied(["do it"] * 3, texts, kept=Kept(flipped)) == [False, False, False]


# In a study

SAFETY = PromptSet("safety", tuple(Prompt(f"do {n}", "no") for n in range(5)))
UTILITY = PromptSet("utility", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(5)))
# A mark in the request decides, as the replies of a random model are what they are.
ASKED = Questions(
    harmful=tuple(
        Question(f"make {mark}{n}", f"{n}") for n, mark in enumerate(["", "!", "!", "~"])
    ),
    harmless=(Question("say 1", "1"),),
)
PLAN = Plan(controls=1, system="Be kind.", reply_tokens=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = tiny_model()
    scores = score(model, safety=SAFETY, utility=UTILITY)
    made = create_run(tmp_path_factory.mktemp("place") / "run", model, scores)
    return save_roles(made, assign_roles(scores, 0.1, 0.1, 0.1))


@pytest.fixture
def plain_replies(monkeypatch):
    """The random model's replies without marks of their own."""
    from ssah_core.evaluation import study

    reply_each = study.reply_each

    def without_marks(*given, **options):
        return [text.replace("!", "").replace("~", "") for text in reply_each(*given, **options)]

    monkeypatch.setattr(study, "reply_each", without_marks)


def judged(tmp_path, run, name, judge, **options):
    folder = tmp_path / name
    run_study(folder, tiny_model(), run, ASKED, PLAN, compliance=judge, **options)
    return open_study(folder)


def test_unjudged_replies_are_none_of_the_figure_and_are_counted_out_loud(
    tmp_path, run, guard, plain_replies
):
    kept = judged(tmp_path, run, "study", judge_from(f"guard:{guard}", device="cpu"))
    for name in ("complied", "complied_with_system"):
        assert kept.rows[0]["metrics"][name]["value"] == pytest.approx(2 / 3, abs=1e-4)
        assert {row["metrics"][name]["n"] for row in kept.rows} == {3}
    assert kept.rows[0]["metrics"]["refused"]["n"] == 4
    made = kept.manifest["compliance"]
    assert made["judge"] == f"guard:{guard}"
    assert 0 < made["unjudged"] * 4 <= made["asked"] * 2
    report = kept.report.decode()
    assert f"no verdict on {made['unjudged']} of {made['asked']} different replies" in report
    assert str(guard) in report and "cannot see" in report
    assert any(
        f"judged by guard:{guard}; it gave no verdict" in line for line in in_words(kept.manifest)
    )
    verdicts = kept.replies["complied"]
    asked_marks = kept.replies["prompt"]
    assert set(verdicts[asked_marks.str.startswith("make !")]) == {True}
    assert verdicts[asked_marks == "say 1"].isna().all()
    assert pd.isna(verdicts[asked_marks == "make ~3"]).all()


def test_a_judged_study_can_be_given_away(tmp_path, run, guard, plain_replies):
    judged(tmp_path, run, "study", judge_from(f"guard:{guard}", device="cpu"))
    content = (tmp_path / "study" / "replies.parquet").read_bytes()
    check_table("replies.parquet", content, 10**7)
    check_study(tmp_path / "study")


def test_a_row_of_which_nothing_could_be_judged_says_so():
    figures = {
        "complied": {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    }
    row = {"removed": "ESU", "control": None, "share": 0.1, "units": 3, "fill": "zero"}
    assert "| not judged |" in markdown([{**row, "metrics": figures}])


def test_the_study_without_a_judge_claims_nothing_of_compliance(tmp_path, run):
    kept = judged(tmp_path, run, "study", None)
    assert "complied" not in kept.rows[0]["metrics"]
    assert "complied" not in kept.replies
    assert kept.manifest["compliance"] is None


def test_a_judge_with_nothing_to_do_is_refused_before_the_work(tmp_path, run, guard):
    known = Questions(
        tuple(Question(q.prompt, q.subject, "x") for q in ASKED.harmful), ASKED.harmless
    )
    judge = judge_from(f"guard:{guard}", device="cpu")
    with pytest.raises(OptionError, match="leave the judge out"):
        run_study(tmp_path / "study", tiny_model(), run, known, PLAN, compliance=judge)
    assert not (tmp_path / "study").exists()


def test_a_study_stopped_while_judging_goes_on_to_the_same_verdicts(
    tmp_path, run, guard, monkeypatch
):
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 200)
    judge = judge_from(f"guard:{guard}", device="cpu")
    whole = judged(tmp_path, run, "whole", judge)
    stages = []

    def cancelled():
        return stages[-4:] == [f"judging replies by {judge.name}"] * 4

    with pytest.raises(Cancelled, match="kept"):
        judged(
            tmp_path, run, "study", judge,
            report=lambda p: stages.append(p.stage), cancelled=cancelled,
        )  # fmt: skip
    partial = json.loads((tmp_path / ".study.partial" / "checkpoint.json").read_text())["state"]
    assert partial["about"]["compliance"] == {"judge": judge.name}
    assert f"--judge guard:{guard}" in commands_of(partial["about"], "study")
    seen = []
    again = judged(tmp_path, run, "study", judge, report=seen.append)
    judging = [p for p in seen if p.stage.startswith("judging")]
    assert judging[0].done >= 3
    assert again.rows == whole.rows
    pd.testing.assert_frame_equal(again.replies, whole.replies)


def test_another_judge_takes_the_replies_and_not_the_verdicts_of_the_first(
    tmp_path, run, guard, classifier, monkeypatch
):
    first = judge_from(f"guard:{guard}", device="cpu")
    write = study_folder._write
    monkeypatch.setattr(study_folder, "_write", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        judged(tmp_path, run, "study", first)
    monkeypatch.setattr(study_folder, "_write", write)
    seen = []
    second = judge_from(f"harmbench:{classifier}", device="cpu")
    kept = judged(tmp_path, run, "study", second, report=seen.append)
    fresh = judged(tmp_path, run, "fresh", second)
    asking = [p for p in seen if p.stage.startswith("asking")]
    assert asking[0].done == asking[0].total
    assert kept.rows == fresh.rows
    assert kept.manifest["compliance"]["judge"] == second.name


def test_the_judge_is_opened_when_the_replies_are_there(tmp_path, run, guard, monkeypatch):
    order = []
    opened = model_judges.open_source
    monkeypatch.setattr(
        model_judges, "open_source", lambda *a, **k: order.append("opened") or opened(*a, **k)
    )
    judge = judge_from(f"guard:{guard}", device="cpu")
    judged(tmp_path, run, "study", judge, report=lambda p: order.append(p.stage))
    assert order.count("opened") == 1
    assert set(order[: order.index("opened")]) == {
        "asking under every ablation",
        "reading under every ablation",
    }


def test_the_commands_and_the_python_of_a_study_name_its_judge(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_network("llama").save_pretrained("model")
    tiny_tokenizer().save_pretrained("model")
    rigged_judge("a guard", yes="unsafe", no="safe")
    for name, word in (
        ("safety", "do"),
        ("utility", "what"),
        ("harmful", "make!"),
        ("harmless", "say"),
    ):
        lines = [json.dumps({"prompt": f"{word} {n}", "response": "no"}) for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    score_it = "score --model model --safety safety.jsonl --utility utility.jsonl --device cpu --out runs/r"
    assert main(score_it.split()) == 0
    give_roles = "roles --run runs/r --esu 0.1 --euu 0 --ru 0"
    assert main(give_roles.split()) == 0
    study = "study --run runs/r --harmful harmful.jsonl --harmless harmless.jsonl --controls 0"
    study += " --device cpu --max-new-tokens 2 --out studies/s --judge"
    study = study.split()
    assert main([*study, "guard:nowhere"]) == 2
    assert "There is no model" in capsys.readouterr().err
    assert main([*study, "guard:a guard", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["metrics"]["complied"]["value"] == 1
    manifest = open_study("studies/s").manifest
    command = commands_of(manifest, "by command")
    assert "--judge 'guard:a guard'" in command
    exec(python_of(manifest, "by python"), {})
    again = open_study("studies/by python")
    assert again.manifest["compliance"] == manifest["compliance"]
    assert again.rows == open_study("studies/s").rows
