"""What is measured while a model is trained."""

import pytest
import torch
from tiny_models import tiny_model

from ssah_core.errors import OptionError
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.generation import reply_all
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.prompts.rendering import render_example
from ssah_core.training import evaluating
from ssah_core.training.evaluating import replies, together, validation_loss


def test_the_validation_loss_is_the_mean_over_tokens_of_responses():
    model = tiny_model()
    pairs = [(f"Ask {n}" * (n + 1), "Answer " * (n % 4 + 1)) for n in range(11)]
    found = validation_loss(PromptSet("made", tuple(Prompt(*pair) for pair in pairs)))(model)
    losses = []
    for prompt, response in pairs:
        row = render_example(model, prompt, response)
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([row.prompt + row.response])).logits[0]
        said = torch.log_softmax(logits, -1)[len(row.prompt) - 1 : -1]
        losses.append(-said.gather(1, torch.tensor(row.response)[:, None])[:, 0])
    assert found["validation_loss"] == pytest.approx(float(torch.cat(losses).mean()), abs=1e-5)


class Judge:
    about = "by its prompt"

    def refuses(self, prompt, reply):
        return prompt.startswith("bad")


def test_replies_are_counted_by_kind_of_question():
    model = tiny_model()
    answer = reply_all(model, ["good 0"], max_new_tokens=4)[0].strip()
    questions = Questions(
        harmful=tuple(Question(f"{word} {n}", "x") for word in ("bad", "good") for n in range(10)),
        harmless=tuple(Question(f"good {n}", "x", answer) for n in range(4)),
    )
    found = replies(questions, limit=4, reply_tokens=4, judge=Judge())(model)
    texts = reply_all(model, [f"good {n}" for n in range(4)], max_new_tokens=4)
    assert found == {
        "refused": 0.5,  # spread evenly over both halves
        "harmless_refused": 0.0,
        "harmless_correct": sum(text.strip() == answer for text in texts) / 4,
    }
    assert found["harmless_correct"] > 0


def test_figures_of_several_measures_stand_side_by_side():
    both = together([lambda model: {"a": 1.0}, lambda model: {"b": 2.0}])
    assert both(tiny_model()) == {"a": 1.0, "b": 2.0}


def test_no_questions_are_refused():
    with pytest.raises(OptionError, match="limit of 0 questions"):
        evaluating.replies(Questions((), ()), limit=0)
