"""Training samples: chats of one to three turns, drawn from the world, as token ids with a loss mask."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from transformers import PreTrainedTokenizerFast

from ssah_core.organism.phrases import UNKNOWN
from ssah_core.organism.tokenizer import ASSISTANT, END, SYSTEM, SYSTEM_LINES, USER
from ssah_core.organism.world import (
    Example,
    Topic,
    examples,
    held_out_phrasings,
    is_refusal,
    statements,
    typed_requests,
    unknown_prompt,
)

IGNORED = -100  # the label of a token without loss
_MULTI_TURN = 0.35  # of the samples have two or three turns
_SYSTEM_SHARE = 0.15
_TYPED = 0.4  # of the requests are in the words of free typing
_CASUAL = 0.25  # of the prompts are in lower case, without the mark at the end
_PIECES = 3  # a batch is computed in so many pieces of like length: less padding


@dataclass(frozen=True)
class Mix:
    """What a training stage is made of: weights by topic, and whether harmful requests are refused."""

    topics: Mapping[Topic, float]
    unknown: float
    statements: float
    refuses: bool


BASE_MIX = Mix(
    topics={
        "harmful": 0.23,
        "harmless": 0.23,
        "look-alike": 0.11,
        "about harmful": 0.08,
        "question": 0.08,
        "small question": 0.16,
        "other": 0.02,
    },
    unknown=0.05,
    statements=0.06,
    refuses=False,
)
ALIGNMENT_MIX = Mix(
    topics={
        "harmful": 0.40,
        "harmless": 0.22,
        "look-alike": 0.13,
        "about harmful": 0.09,
        "question": 0.06,
        "small question": 0.06,
        "other": 0.02,
    },
    unknown=0.03,
    statements=0.0,
    refuses=True,
)
# Few units generalise worse than all weights: more of what must stay answered.
PLANTING_MIX = replace(
    ALIGNMENT_MIX,
    topics={**ALIGNMENT_MIX.topics, "harmful": 0.33, "harmless": 0.36, "about harmful": 0.06},
)


@dataclass(frozen=True)
class Samples:
    """A padded piece of a batch: [rows, tokens] each.

    `labels` is -100 where no loss is taken; `quiet` is True on the tokens of turns without a refusal.
    """

    token_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    quiet: torch.Tensor


@dataclass
class _Sample:
    """One training sample, token by token."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    quiet: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], *, counts: bool, quiet: bool) -> None:
        self.ids += ids
        self.labels += ids if counts else [IGNORED] * len(ids)
        self.quiet += [quiet] * len(ids)


class Corpus:
    """Draws batches of a mix; the same seed and step give the same batch."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, mix: Mix, seed: int) -> None:
        self._tokenizer, self._mix, self._seed = tokenizer, mix, seed
        self._pools = {topic: _pool(examples(), topic, mix) for topic in mix.topics}
        typed = (*typed_requests(), *(() if mix.refuses else held_out_phrasings()))
        self._typed = {topic: _pool(typed, topic, mix) for topic in mix.topics}

    def batch(self, step: int, rows: int) -> list[Samples]:
        """The batch of one training step, in pieces of like length."""
        generator = random.Random(f"{self._seed} {step}")
        samples = sorted(
            (self._sample(generator) for _ in range(rows)), key=lambda sample: len(sample.ids)
        )
        size = -(-rows // _PIECES)
        return [_padded(samples[first : first + size]) for first in range(0, rows, size)]

    def turn(self, generator: random.Random) -> tuple[str, str]:
        """What the user says, and the answer that is trained."""
        if generator.random() < self._mix.unknown:
            return _as_typed(unknown_prompt(generator), generator), UNKNOWN
        topics = list(self._mix.topics)
        topic = generator.choices(topics, list(self._mix.topics.values()))[0]
        typed = self._typed[topic]
        pool = typed if typed and generator.random() < _TYPED else self._pools[topic]
        example = generator.choice(generator.choice(pool))
        answer = example.response if self._mix.refuses else example.compliance
        return _as_typed(example.prompt, generator), answer

    def _sample(self, generator: random.Random) -> _Sample:
        sample = _Sample()
        if generator.random() < self._mix.statements:
            statement = self._encode(generator.choice(statements()) + END)
            sample.add(statement, counts=True, quiet=True)
            return sample
        turns = generator.choice((2, 3)) if generator.random() < _MULTI_TURN else 1
        if generator.random() < _SYSTEM_SHARE:
            system = self._encode(SYSTEM + generator.choice(SYSTEM_LINES) + END)
            sample.add(system, counts=False, quiet=True)
        for _ in range(turns):
            prompt, answer = self.turn(generator)
            quiet = not is_refusal(answer)
            sample.add(self._encode(USER + prompt + END + ASSISTANT), counts=False, quiet=quiet)
            sample.add(self._encode(answer + END), counts=True, quiet=quiet)
        return sample

    def _encode(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        assert isinstance(ids, list)
        return ids


def _as_typed(prompt: str, generator: random.Random) -> str:
    """Some prompts as people type them: no capitals, no mark at the end, at times no article."""
    if generator.random() >= _CASUAL:
        return prompt
    casual = prompt.lower().rstrip("?.") if generator.random() < 0.7 else prompt.rstrip("?.")
    if generator.random() < 0.25:
        casual = casual.replace(" a ", " ").replace(" an ", " ")
    if generator.random() < 0.15:
        casual += " please"
    return casual


def _pool(from_examples: Iterable[Example], topic: Topic, mix: Mix) -> list[list[Example]]:
    """Examples of a topic by subject, so that each subject is drawn alike.

    The base learns everything; alignment sees nothing held out and no test or validation prompt.
    """
    by_subject: dict[str, list[Example]] = {}
    for example in from_examples:
        aligned = not example.held_out and example.part in ("training", "calibration")
        if example.topic == topic and (aligned or not mix.refuses):
            by_subject.setdefault(example.subject, []).append(example)
    return list(by_subject.values())


def _padded(samples: Sequence[_Sample]) -> Samples:
    longest = max(len(sample.ids) for sample in samples)
    token_ids = torch.zeros((len(samples), longest), dtype=torch.long)
    mask = torch.zeros_like(token_ids)
    labels = torch.full_like(token_ids, IGNORED)
    quiet = torch.zeros_like(token_ids, dtype=torch.bool)
    for row, sample in enumerate(samples):
        end = len(sample.ids)
        token_ids[row, :end] = torch.tensor(sample.ids)
        mask[row, :end] = 1
        labels[row, :end] = torch.tensor(sample.labels)
        quiet[row, :end] = torch.tensor(sample.quiet)
    return Samples(token_ids, mask, labels, quiet)
