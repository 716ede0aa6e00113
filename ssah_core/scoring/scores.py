"""What scoring leaves behind: the moments of every channel, and unit scores derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64

from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Anatomy
from ssah_core.prompts.reading import PromptSet
from ssah_core.scoring.importance import unit_importance, z_by_site
from ssah_core.scoring.moments import Moments

Tokens = Literal["all", "prompt", "response"]
TOKEN_CHOICES: tuple[Tokens, ...] = ("all", "prompt", "response")


def check_tokens(tokens: str) -> Tokens:
    """The choice of tokens by its name; raises OptionError for any other word."""
    for known in TOKEN_CHOICES:
        if tokens == known:
            return known
    raise OptionError(f"tokens='{tokens}' is not a choice; use {', '.join(TOKEN_CHOICES)}.")


@dataclass(frozen=True, eq=False)
class TokenMoments:
    """The moments of one prompt set: its prompt tokens and its response tokens apart, per channel."""

    prompt: Moments
    response: Moments

    def at(self, tokens: Tokens) -> Moments:
        """The moments over the chosen tokens; "all" is the exact merge of the two."""
        if tokens == "prompt":
            return self.prompt
        if tokens == "response":
            return self.response
        return self.prompt.merged(self.response)


@dataclass(frozen=True, eq=False)
class UnitScores:
    """The scores of every unit over one choice of tokens.

    `safety` and `utility` are standardised per layer and kind (METHOD 1.2); the raw importances stand
    beside them. `means` is every channel's mean on the utility set, for mean fill.
    """

    tokens: Tokens
    safety: Float32[np.ndarray, " units"]
    utility: Float32[np.ndarray, " units"]
    raw_safety: Float64[np.ndarray, " units"]
    raw_utility: Float64[np.ndarray, " units"]
    means: Float32[np.ndarray, " channels"]

    @property
    def difference(self) -> Float32[np.ndarray, " units"]:
        """I_S - I_U: what ranks ESU from the top and EUU from the bottom."""
        return self.safety - self.utility

    @property
    def total(self) -> Float32[np.ndarray, " units"]:
        """I_S + I_U: what ranks RU from the bottom."""
        return self.safety + self.utility


@dataclass(frozen=True, eq=False)
class Scores:
    """One scoring of one model: everything that roles and fills are derived from.

    The prompt sets are those that were scored, with the model's own replies where they brought none.
    `options` is what `score` was called with besides.
    """

    model: str
    fingerprint: str
    anatomy: Anatomy
    norms_squared: Float64[np.ndarray, " channels"]
    safety: TokenMoments
    utility: TokenMoments
    safety_prompts: PromptSet
    utility_prompts: PromptSet
    options: Mapping[str, Any] = field(default_factory=dict)
    _cache: dict[Tokens, UnitScores] = field(default_factory=dict, init=False, repr=False)

    def at(self, tokens: Tokens = "all") -> UnitScores:
        """The unit scores over all tokens, the prompts' only, or the responses' only."""
        if check_tokens(tokens) not in self._cache:
            raw_safety = self._raw(self.safety, tokens)
            raw_utility = self._raw(self.utility, tokens)
            self._cache[tokens] = UnitScores(
                tokens=tokens,
                safety=z_by_site(self.anatomy, raw_safety),
                utility=z_by_site(self.anatomy, raw_utility),
                raw_safety=raw_safety,
                raw_utility=raw_utility,
                means=self.utility.at(tokens).mean.astype(np.float32),
            )
        return self._cache[tokens]

    def _raw(self, moments: TokenMoments, tokens: Tokens) -> Float64[np.ndarray, " units"]:
        return unit_importance(self.anatomy, moments.at(tokens).variance(), self.norms_squared)

    @property
    def token_count(self) -> int:
        """How many tokens were counted, over both sets."""
        return self.safety.at("all").count + self.utility.at("all").count
