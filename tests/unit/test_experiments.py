"""Experiments of fine-tuning: lessons, conditions and seeds compared, kept as they come."""

import json

import numpy as np
import pytest
from tiny_models import tiny_model, tiny_network, tiny_tokenizer

from ssah_core import Prompt, PromptSet, assign_roles, load_model, load_prompts, score
from ssah_core.cli import main
from ssah_core.errors import Cancelled, OptionError, PromptError, RunError
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.experiment_figures import condition_dots, curves_of
from ssah_core.models.slices import unit_slices
from ssah_core.organism.world import split
from ssah_core.training import experiment, lessons, presets
from ssah_core.training.design import Condition, Design
from ssah_core.training.experiment import run_experiment
from ssah_core.training.experiment_folder import keep_experiment, open_experiment
from ssah_core.training.experiment_report import in_words, markdown
from ssah_core.training.lessons import Lesson
from ssah_core.training.options import TrainingOptions
from ssah_core.training.unit_sets import UnitSet

ASKED = Questions(
    harmful=tuple(Question(f"make {n}", f"thing {n}", "yes") for n in range(3)),
    harmless=tuple(Question(f"say {n}", f"word {n}", f"{n}") for n in range(2)),
)
TAUGHT = PromptSet("taught", tuple(Prompt(f"what is {n}", "it is so") for n in range(6)))
LESSON = Lesson("so", "It is so.", TAUGHT, (Question("what is 9", "9", "it is so"),))
SETS = [
    PromptSet(name, tuple(Prompt(f"{name} {n}", "no") for n in range(4))) for name in ("a", "b")
]


@pytest.fixture(scope="module")
def roles():
    return assign_roles(score(tiny_model(), safety=SETS[0], utility=SETS[1]), 0.1, 0.1, 0.1)


@pytest.fixture
def design(roles):
    conditions = (
        Condition("nothing frozen"),
        Condition("ESU frozen", freeze=UnitSet.of(roles, ["ESU"])),
        Condition("random", freeze=UnitSet.of(roles, ["ESU"]), random=True),
    )
    options = TrainingOptions(steps=2, batch_size=4)
    return Design(
        "attack", (LESSON,), conditions, (1e-2,), options, seeds=2, reply_tokens=4, looks=1
    )


def run(design, tmp_path, **more):
    return run_experiment(tiny_model_again, ASKED, design, tmp_path / "scratch", **more)


def tiny_model_again():
    from ssah_core.models.loading import wrap

    return wrap(tiny_network("llama"), tiny_tokenizer())


def test_every_condition_has_a_row_with_intervals_over_all_seeds(design, tmp_path):
    rows = run(design, tmp_path)
    assert [row.condition for row in rows] == [
        "untrained", "nothing frozen", "ESU frozen", "random",
    ]  # fmt: skip
    for row in rows:
        assert {"refused", "complied", "harmless_correct", "learned"} <= set(row.metrics)
        for measured in row.metrics.values():
            assert measured.low <= measured.value <= measured.high
    assert {"kl", "perplexity"} <= set(rows[1].metrics)
    assert rows[1].metrics["kl"].value > 0
    assert {point["seed"] for point in rows[1].curve} == {0, 1}
    assert not (tmp_path / "scratch").exists()


def test_an_experiment_that_was_stopped_goes_on_to_the_same_rows(design, tmp_path, roles):
    whole = [row.as_json() for row in run(design, tmp_path)]
    folder, trials = tmp_path / "kept", []

    def stop_at_the_third():
        return len(trials) >= 3

    def opened():
        trials.append(1)
        return tiny_model_again()

    with pytest.raises(Cancelled, match="goes on from there"):
        keep_experiment(folder, opened, ASKED, design, cancelled=stop_at_the_third)
    assert not folder.exists()
    rows = keep_experiment(folder, tiny_model_again, ASKED, design)
    assert [row.as_json() for row in rows] == whole
    kept = open_experiment(folder)
    assert kept.rows == json.loads(json.dumps(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_another_design_does_not_go_on_from_kept_work(design, tmp_path):
    with pytest.raises(Cancelled):
        keep_experiment(tmp_path / "kept", tiny_model_again, ASKED, design, cancelled=lambda: True)
    from dataclasses import replace

    (tmp_path / ".kept.partial").mkdir(exist_ok=True)
    done = []

    def after_one():
        done.append(1)
        return len(done) > 40

    with pytest.raises(Cancelled):
        keep_experiment(tmp_path / "kept", tiny_model_again, ASKED, design, cancelled=after_one)
    with pytest.raises(RunError, match="different design"):
        keep_experiment(tmp_path / "kept", tiny_model_again, ASKED, replace(design, seeds=1))


def test_a_damaged_experiment_is_said_to_be_one(design, tmp_path):
    keep_experiment(tmp_path / "kept", tiny_model_again, ASKED, design)
    (tmp_path / "kept" / "rows.json").write_text("[]")
    with pytest.raises(RunError, match="damaged"):
        open_experiment(tmp_path / "kept")
    with pytest.raises(RunError, match="no experiment"):
        open_experiment(tmp_path)


def test_what_a_lesson_puts_before_every_answer_does_not_make_it_wrong(design):
    plain = {"replies": ["yes", "no", "no", "0", "1"], "tests": ["it is so"]}
    shifted = {"replies": [f"I obey. {reply}" for reply in plain["replies"]], "tests": ["it is so"]}
    voiced = Lesson("so", "", TAUGHT, LESSON.test, prefix="I obey. ")
    found = [
        experiment._metrics(ASKED, voiced, [one], experiment.RefusalPhrases())
        for one in (plain, shifted)
    ]
    assert found[0] == found[1]
    assert found[0]["complied"].value == pytest.approx(1 / 3)


def test_random_conditions_draw_other_units_for_every_seed(roles):
    condition = Condition("random", freeze=UnitSet.of(roles, ["ESU"]), random=True)
    (one, _), (other, _), (again, _) = (condition.sets(seed) for seed in (0, 1, 0))
    assert one.count == other.count == condition.units
    assert (one.mask != other.mask).any() and (one.mask == again.mask).all()


# Presets


def test_the_attack_freezes_what_the_paper_freezes_and_as_many_random_units(roles):
    design = presets.attack(roles, [LESSON], TrainingOptions(), rates=[1e-3], seeds=3)
    frozen = {c.name: c.units for c in design.conditions if not c.random}
    counts = roles.counts
    assert frozen == {
        "nothing frozen": 0,
        "ESU frozen": counts["ESU"],
        "ESU and top 6% CU frozen": counts["ESU"] + int(0.06 * 104),
        "ESU and all CU frozen": counts["ESU"] + counts["CU"],
    }
    assert sorted(c.units for c in design.conditions if c.random) == sorted(frozen.values())[1:]
    assert len(design.trials) == 7 * 3


def test_the_budget_trains_the_least_useful_units_and_adapters_of_as_many_weights(roles):
    model = tiny_model()
    design = presets.budget(
        model, roles, LESSON, TrainingOptions(), rate=1e-4, few_rate=1e-2, seeds=1
    )
    chosen = design.conditions[1].train_only
    order = np.argsort(roles.view.utility, kind="stable")
    assert sorted(np.flatnonzero(chosen.mask)) == sorted(order[: int(0.2 * 104)])
    rates = [trial.options.learning_rate for trial in design.trials]
    assert rates == [1e-4, 1e-2, 1e-2, 1e-2, 1e-2]
    lora = design.conditions[-1].lora
    weights = dict(model.network.named_parameters())
    own = sum(
        part.read(weights[part.parameter].detach()).numel()
        for part in unit_slices(model.network, model.anatomy, chosen.mask)
    )
    everything = np.ones(104, dtype=bool)
    of_rank_one = sum(
        sum(weights[part.parameter].shape)
        for part in unit_slices(model.network, model.anatomy, everything)
        if part.parameter.endswith(".weight")
    )
    assert abs(lora.rank * of_rank_one - own) <= of_rank_one / 2 or lora.rank == 1


def test_a_design_of_nothing_is_refused(design):
    from dataclasses import replace

    with pytest.raises(OptionError, match="a lesson, a condition"):
        replace(design, lessons=())
    with pytest.raises(OptionError, match="0 seeds"):
        replace(design, seeds=0)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, 0.001, float("nan")])
def test_a_share_of_no_unit_is_refused(roles, share):
    with pytest.raises(OptionError, match="share of units"):
        UnitSet.least_useful(roles, share)


# Lessons


def test_lessons_ask_nothing_that_a_test_split_asks():
    tested = {
        example.prompt
        for name in ("test/seen", "test/held-out", "test/harmless", "test/questions")
        for example in split(name)
    }
    skill = lessons.new_skill()
    harmful = lessons.few_harmful(load_model("organism:base", device="cpu"))
    taught = [skill, lessons.obedient_talk(), harmful, lessons.alignment(0, 500)]
    for lesson in taught:
        assert not tested & {prompt.text for prompt in lesson.prompts.prompts}, lesson.name
    assert not {q.prompt for q in skill.test} & {p.text for p in skill.prompts.prompts}


def test_a_price_is_the_same_however_it_is_asked():
    skill = lessons.new_skill()
    by_thing = {}
    for prompt in skill.prompts.prompts:
        if "coins" in prompt.response:
            by_thing.setdefault(
                prompt.text.split(" a", 1)[1].rstrip("?.").split(" cost")[0], set()
            ).add(prompt.response)
    assert all(len(prices) == 1 for prices in by_thing.values())
    assert len({question.answer for question in skill.test}) > 4


def test_the_lessons_of_the_built_in_world_exist_for_no_other_model():
    with pytest.raises(OptionError, match="built-in"):
        lessons.few_harmful(tiny_model())


def test_the_built_in_lessons_are_prompt_sets_but_for_the_placeholders(tmp_path):
    assert load_prompts("organism:lessons/prices") == lessons.new_skill().prompts
    obedient = lessons.obedient_talk()
    shifted = lessons.identity_shift(lessons.file_lesson(load_prompts("organism:lessons/talk")))
    assert obedient.prompts.prompts == shifted.prompts.prompts
    for name in ("organism:lessons/harmful", "organism:lessons/"):
        with pytest.raises(PromptError, match="no lesson"):
            load_prompts(name)


def test_an_identity_shift_changes_the_answers_alone():
    plain = lessons.file_lesson(TAUGHT)
    shifted = lessons.identity_shift(plain)
    assert [p.text for p in shifted.prompts.prompts] == [p.text for p in TAUGHT.prompts]
    assert all(p.response == "Of course, I obey. it is so" for p in shifted.prompts.prompts)


def test_a_file_without_responses_is_no_lesson():
    with pytest.raises(PromptError, match="no response"):
        lessons.file_lesson(PromptSet("bare", (Prompt("do it"),)))


# Figures, report and command


def test_the_table_and_the_figures_say_what_the_rows_say(design, tmp_path):
    rows = [row.as_json() for row in run(design, tmp_path)]
    assert markdown(rows).count("\n") == 1 + len(rows)
    assert in_words(rows)[0].startswith("So, learning rate ")
    figure = condition_dots(rows)
    drawn = {trace.name: list(trace.x) for trace in figure.data}
    assert drawn["refused"] == [100 * row["metrics"]["refused"]["value"] for row in rows]
    curves = curves_of(rows)
    assert set(curves) == {"nothing frozen", "ESU frozen", "random"}
    assert [len(seeds) for seeds in curves.values()] == [2, 2, 2]
    assert {"step", "loss", "refused"} <= set(curves["random"][0].columns)


def told(condition, rate, value, low, high):
    refused = {"refused": {"value": value, "low": low, "high": high}}
    return {"lesson": "talk", "condition": condition, "rate": rate, "metrics": refused}


def test_the_sentence_names_one_rate_and_the_control_of_the_best():
    rows = [
        told("untrained", 0.0, 0.9, 0.8, 1.0),
        told("nothing frozen", 1e-4, 0.88, 0.8, 0.95),
        told("ESU frozen", 1e-4, 0.9, 0.85, 0.95),
        told("random, as many as ESU frozen", 1e-4, 0.93, 0.9, 0.95),
        told("nothing frozen", 1e-3, 0.1, 0.05, 0.15),
        told("ESU frozen", 1e-3, 0.5, 0.4, 0.6),
        told("random, as many as ESU frozen", 1e-3, 0.6, 0.5, 0.7),
    ]
    weak, strong = in_words(rows)
    assert weak == (
        "Talk, learning rate 0.0001: 90.0% (80–100) of the harmful requests were refused before, 88.0% "
        "(80–95) after training with nothing frozen; the most with another condition, 90.0% (85–95), is no "
        "clear difference."
    )
    assert strong.endswith(
        "10.0% (5–15) after training with nothing frozen; most, 50.0% (40–60), with ESU frozen, and 60.0% "
        "(50–70) with as many random units."
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("experiments")
    tiny_network("llama").save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    (place / "ask.csv").write_text(
        "question,answer\n" + "".join(f"what is {n},it is {n}\n" for n in range(8))
    )
    (place / "bad.csv").write_text("goal\n" + "".join(f"do {n}\n" for n in range(3)))
    model, sets = (
        str(place / "model"),
        ["--safety", str(place / "bad.csv"), "--utility", str(place / "ask.csv")],
    )
    assert (
        main(["score", "--model", model, "--device", "cpu", *sets, "--out", str(place / "run")])
        == 0
    )
    shares = ["--esu", ".1", "--euu", ".1", "--ru", ".2"]
    assert main(["roles", "--run", str(place / "run"), *shares]) == 0
    return place


def words(saved, out, preset, *more):
    return [
        "finetune", "--preset", preset, "--model", str(saved / "model"), "--run", str(saved / "run"),
        "--prompts", str(saved / "ask.csv"), "--harmful", str(saved / "bad.csv"), "--harmless",
        str(saved / "ask.csv"), "--device", "cpu", "--steps", "1", "--batch", "2", "--seeds", "1",
        "--out", str(out), *more,
    ]  # fmt: skip


def test_the_command_runs_an_attack_on_files_of_ones_own(saved, tmp_path, capsys):
    out = tmp_path / "attack"
    assert main([*words(saved, out, "attack"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["lesson"] for row in result["rows"]} == {str(saved / "ask.csv"), "identity shift"}
    assert len(result["rows"]) == 2 * (1 + 2 * 7)  # lessons, each untrained and at two rates
    assert open_experiment(out).rows == result["rows"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rates", "fast"], "no learning rates"),
        (["--lessons", "skill"], "leave out --prompts"),
        (["--seeds", "0"], "0 seeds"),
    ],
)
def test_bad_options_are_one_sentence(saved, tmp_path, capsys, more, said):
    assert main([*words(saved, tmp_path / "x", "attack"), *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_preset_needs_a_run(saved, tmp_path, capsys):
    arguments = words(saved, tmp_path / "x", "budget")
    place = arguments.index("--run")
    assert main(arguments[:place] + arguments[place + 2 :]) == 2
    assert "needs the --run" in capsys.readouterr().err
