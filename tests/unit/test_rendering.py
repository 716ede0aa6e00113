"""Chats as a model reads them: bad chats and bad templates are said in one sentence."""

import pytest
from tiny_models import fresh_model, tiny_model

from ssah_core.errors import PromptError
from ssah_core.prompts.rendering import prompt_text, render_prompt


def test_a_string_is_one_message_of_the_user():
    model = tiny_model()
    assert prompt_text(model, "hello") == prompt_text(model, [{"role": "user", "content": "hello"}])


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ([], "give at least one message"),
        ([{"role": "user"}], "has no role or no text"),
        ([{"role": "user", "content": None}], "has no role or no text"),
        ([{"content": "hello"}], "has no role or no text"),
    ],
)
def test_a_chat_of_another_form_is_refused(chat, message):
    with pytest.raises(PromptError, match=message):
        render_prompt(tiny_model(), chat)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system message') }}", "refuses the chat .no system message"),
        ("{% if %}", "is broken .TemplateSyntaxError"),
        ("{{ 10.0 ** 1000 }}", "is broken .OverflowError"),
        ("{{ messages[7].content.x.y }}", "refuses the chat"),
    ],
)
def test_a_template_that_fails_is_said_with_the_remedy(template, message):
    model = fresh_model()
    model.tokenizer.chat_template = template
    with pytest.raises(PromptError, match=message):
        render_prompt(model, "hello")
