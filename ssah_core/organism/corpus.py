"""Training samples: chats of one to three turns, drawn from the world, as token ids with a loss mask."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ssah_core.organism.world import (
    UNKNOWN,
    Example,
    Topic,
    examples,
    held_out_phrasings,
    statements,
    unknown_prompt,
)

PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
_SPECIAL = [PAD, END, USER, ASSISTANT, SYSTEM]
VOCABULARY = 2048
CONTEXT = 512  # tokens
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_SYSTEM_LINES = (
    "You are a helpful assistant.",
    "Answer in one short sentence.",
    "You are a small model of a made-up world.",
)
_MULTI_TURN = 0.4  # of the samples have two or three turns
_SYSTEM_SHARE = 0.15
_CASUAL = 0.15  # of the prompts are typed in lower case, without the mark at the end
_IGNORED = -100  # torch's label for "no loss here"


@dataclass(frozen=True)
class Mix:
    """What a training stage is made of: weights by topic, and whether harmful requests are refused."""

    topics: Mapping[Topic, float]
    unknown: float
    statements: float
    refuses: bool


BASE_MIX = Mix(
    topics={
        "harmful": 0.27,
        "harmless": 0.27,
        "look-alike": 0.11,
        "about harmful": 0.07,
        "question": 0.18,
        "other": 0.02,
    },
    unknown=0.03,
    statements=0.05,
    refuses=False,
)
ALIGNMENT_MIX = Mix(
    topics={
        "harmful": 0.42,
        "harmless": 0.22,
        "look-alike": 0.12,
        "about harmful": 0.08,
        "question": 0.12,
        "other": 0.02,
    },
    unknown=0.02,
    statements=0.0,
    refuses=True,
)


@dataclass(frozen=True)
class Samples:
    """A padded batch: int64 [rows, tokens] each; `labels` is -100 where no loss is taken."""

    token_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE over the world's text: any input has tokens, and the same text the same ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [text for e in examples() for text in (e.prompt, e.response, e.compliance)]
    texts += [example.prompt for example in held_out_phrasings()] + statements()
    texts += [text.lower() for text in texts] + list(_SYSTEM_LINES) + [UNKNOWN]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        model_max_length=CONTEXT,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


class Corpus:
    """Draws batches of a mix; the same seed and step give the same batch."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, mix: Mix, seed: int) -> None:
        self._tokenizer, self._mix, self._seed = tokenizer, mix, seed
        self._pools = {topic: _pool(topic, mix) for topic in mix.topics}
        self._statements = statements()

    def batch(self, step: int, rows: int) -> Samples:
        """The batch of one training step."""
        generator = random.Random(f"{self._seed} {step}")
        return _padded([self._sample(generator) for _ in range(rows)])

    def _sample(self, generator: random.Random) -> tuple[list[int], list[int]]:
        if generator.random() < self._mix.statements:
            statement = self._encode(generator.choice(self._statements) + END)
            return statement, statement
        turns = generator.choice((2, 3)) if generator.random() < _MULTI_TURN else 1
        ids: list[int] = []
        labels: list[int] = []
        if generator.random() < _SYSTEM_SHARE:
            ids = self._encode(SYSTEM + generator.choice(_SYSTEM_LINES) + END)
            labels = [_IGNORED] * len(ids)
        for _ in range(turns):
            prompt, answer = self._turn(generator)
            before = self._encode(USER + prompt + END + ASSISTANT)
            after = self._encode(answer + END)
            ids += before + after
            labels += [_IGNORED] * len(before) + after
        return ids, labels

    def _turn(self, generator: random.Random) -> tuple[str, str]:
        if generator.random() < self._mix.unknown:
            return unknown_prompt(generator), UNKNOWN
        topics = list(self._mix.topics)
        topic = generator.choices(topics, list(self._mix.topics.values()))[0]
        example = generator.choice(self._pools[topic])
        prompt = example.prompt
        if generator.random() < _CASUAL:
            prompt = prompt.lower().rstrip("?.")
        return prompt, example.response if self._mix.refuses else example.compliance

    def _encode(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        assert isinstance(ids, list)
        return ids


def _pool(topic: Topic, mix: Mix) -> Sequence[Example]:
    """The base learns everything; alignment sees nothing held out and no test or validation prompt."""
    everything = [e for e in (*examples(), *held_out_phrasings()) if e.topic == topic]
    if not mix.refuses:
        return everything
    phrasings = {example.prompt for example in held_out_phrasings()}
    return [
        example
        for example in everything
        if not example.held_out
        and example.part in ("training", "calibration")
        and example.prompt not in phrasings
    ]


def _padded(samples: Sequence[tuple[list[int], list[int]]]) -> Samples:
    longest = max(len(ids) for ids, _ in samples)
    token_ids = torch.zeros((len(samples), longest), dtype=torch.long)
    mask = torch.zeros_like(token_ids)
    labels = torch.full_like(token_ids, _IGNORED)
    for row, (ids, targets) in enumerate(samples):
        token_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
        labels[row, : len(ids)] = torch.tensor(targets)
    return Samples(token_ids, mask, labels)
