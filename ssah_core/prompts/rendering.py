"""From chats to token ids, in the model's own chat format.

Prompt and response are tokenised apart and joined, so that the border between them is exact and the
prompt's tokens are the very ones that a reply is generated from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import TemplateError, TemplateSyntaxError

from ssah_core.errors import PromptError
from ssah_core.models.loading import Model

Message = Mapping[str, str]
Chat = str | Sequence[Message]


@dataclass(frozen=True)
class Rendered:
    """One example as token ids; `response` is empty where only a prompt was rendered."""

    prompt: tuple[int, ...]
    response: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def as_messages(chat: Chat) -> list[dict[str, str]]:
    """A chat as a list of {"role", "content"} messages; a plain string is one user message.

    Raises PromptError where it has no messages, or one of another form.
    """
    if isinstance(chat, str):
        return [{"role": "user", "content": chat}]
    messages = [dict(message) for message in chat]
    if not messages:
        raise PromptError("The chat is empty; give at least one message.")
    for message in messages:
        if not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise PromptError(
                'A message of the chat has no role or no text; write {"role": "user", "content": "..."}.'
            )
    return messages


def prompt_text(model: Model, chat: Chat) -> str:
    """The text that the model reads before it replies.

    Raises PromptError where the chat template refuses the chat (for example a system message).
    """
    messages = as_messages(chat)
    if not model.tokenizer.chat_template:
        return _plain(messages) + "Assistant:"
    return _apply(model, messages, add_generation_prompt=True)


def render_prompt(model: Model, chat: Chat, *, room: int = 0) -> Rendered:
    """The token ids of a chat up to where the reply starts.

    Raises PromptError where they and `room` more tokens do not fit the model's context.
    """
    rendered = render_text(
        model, prompt_text(model, chat), begun=bool(model.tokenizer.chat_template)
    )
    if model.context is not None and len(rendered) + room > model.context:
        raise PromptError(
            f"The chat is {len(rendered)} tokens long and {room} more are asked for, but the model "
            f"reads at most {model.context}; shorten the chat, start a new one, or ask for fewer."
        )
    return rendered


def render_text(model: Model, text: str, *, begun: bool) -> Rendered:
    """The token ids of a text as it stands, to be gone on with.

    `begun` says that the text brings its own begin-of-text token, as what a chat template wrote does;
    otherwise the tokenizer adds it. Raises PromptError where the text is not UTF-8.
    """
    return Rendered(_encode(model, text, add_special=not begun))


def render_example(model: Model, chat: Chat, response: str) -> Rendered:
    """The token ids of a chat and of its response with the template's end of turn."""
    before = prompt_text(model, chat)
    # A chat template writes its own begin-of-text token; the plain one leaves that to the tokenizer.
    add_special = not model.tokenizer.chat_template
    return Rendered(
        _encode(model, before, add_special=add_special),
        _encode(model, _response_text(model, chat, before, response), add_special=False),
    )


def reply_tokens(model: Model, text: str) -> tuple[int, ...]:
    """The token ids of a reply's beginning, as they follow a rendered prompt; no end of turn."""
    return _encode(
        model, text if model.tokenizer.chat_template else f" {text.strip()}", add_special=False
    )


def _response_text(model: Model, chat: Chat, before: str, response: str) -> str:
    if not model.tokenizer.chat_template:
        return " " + response.strip() + (model.tokenizer.eos_token or "")
    messages = [*as_messages(chat), {"role": "assistant", "content": response}]
    whole = _apply(model, messages, add_generation_prompt=False)
    if whole.startswith(before):
        return whole.removeprefix(before).rstrip("\n")
    # Some templates write past replies otherwise than new ones (for example without their thinking).
    return response + (model.tokenizer.eos_token or "")


def _apply(model: Model, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    try:
        text = model.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # the template is anyone's program
        if isinstance(error, TemplateError) and not isinstance(error, TemplateSyntaxError):
            raise PromptError(
                f"This model's chat template refuses the chat ({error}); leave out the system message, "
                "and let user and assistant take turns."
            ) from error
        raise PromptError(
            f"This model's chat template is broken ({type(error).__name__}: {str(error)[:200]}); get "
            "the model's tokenizer again, or delete its chat_template to use a plain one."
        ) from error
    assert isinstance(text, str)
    return text


def _plain(messages: list[dict[str, str]]) -> str:
    lines = []
    for message in messages:
        speaker = "" if message["role"] == "system" else f"{message['role'].capitalize()}: "
        lines.append(f"{speaker}{message['content'].strip()}\n")
    return "".join(lines)


def _encode(model: Model, text: str, *, add_special: bool) -> tuple[int, ...]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            "The text holds bytes that are not UTF-8; type or paste it anew."
        ) from error
    with model.tokenizer_lock:
        return tuple(model.tokenizer(text, add_special_tokens=add_special)["input_ids"])
