"""What a person chose to switch off, the ablation that it stands for, and both in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssah_core.ablation import Ablation, Fill
from ssah_core.models.anatomy import Kinds
from ssah_core.roles import Role, assign_roles
from ssah_core.runs import Run
from ssah_core.scoring.scores import Tokens

KINDS_IN_WORDS: dict[Kinds, str] = {
    "both": "MLP channels and attention heads",
    "mlp": "MLP channels",
    "attn": "attention heads",
}
FILLS_IN_WORDS: dict[Fill, str] = {"zero": "zero", "mean": "their mean"}


@dataclass(frozen=True)
class Choice:
    """The settings of the ablation panel."""

    roles: tuple[Role, ...]
    strongest: int  # percent
    random: bool
    seed: int
    fill: Fill
    shares: tuple[float, float, float]  # ESU, EUU, RU
    tokens: Tokens
    kinds: Kinds

    def acts_like(self, other: Choice) -> bool:
        """Whether both switch off the same: a setting that is not in use makes no difference."""
        return self._in_use() == other._in_use()

    def _in_use(self) -> Choice | None:
        if not self.roles or self.strongest == 0:
            return None
        roles = tuple(sorted(self.roles))
        return replace(self, roles=roles, seed=self.seed if self.random else 0)


@dataclass(frozen=True)
class Setting:
    """A choice as a reply carries it: in words, and with what made it for the small print."""

    choice: Choice
    label: str
    made_by: str


def describe(run: Run, choice: Choice, cut: Ablation | None) -> Setting:
    """The setting of every reply that is given from now on."""
    return Setting(choice, in_words(choice, cut), _provenance(run, choice))


def build_ablation(run: Run, choice: Choice) -> Ablation | None:
    """The ablation of a choice; None where nothing is switched off."""
    esu, euu, ru = choice.shares
    roles = assign_roles(run.scores, esu, euu, ru, tokens=choice.tokens, kinds=choice.kinds)
    cut = Ablation.of(roles, choice.roles, strongest=choice.strongest / 100, fill=choice.fill)
    if choice.random:
        cut = Ablation.random_like(cut, seed=choice.seed)
    return cut if cut.count else None


def in_words(choice: Choice, cut: Ablation | None) -> str:
    """For example "ESU off: 291 of 3,648 units (8.0%)"."""
    if cut is None:
        empty = choice.roles and choice.strongest
        return (
            f"Nothing off: too few units are {' or '.join(choice.roles)}"
            if empty
            else "Nothing off"
        )
    part = "" if choice.strongest == 100 else f"strongest {choice.strongest}% of "
    what = part + " + ".join(choice.roles)
    if choice.random:
        what = f"random units, as many as {what},"
    share = cut.count / cut.anatomy.units
    words = f"{what} off: {cut.count:,} of {cut.anatomy.units:,} units ({share:.1%})"
    return words[0].upper() + words[1:]


def _provenance(run: Run, choice: Choice) -> str:
    """What made an ablation, for the small print."""
    safety, utility = run.scores.safety_prompts, run.scores.utility_prompts
    esu, euu, ru = choice.shares
    return (
        f"{run.scores.model}, units scored on {len(safety):,} safety and {len(utility):,} utility "
        f"prompts. Roles by {choice.tokens} tokens, {KINDS_IN_WORDS[choice.kinds]}: ESU {esu:.1%}, "
        f"EUU {euu:.1%}, RU {ru:.1%} of all units. Units that are off put out "
        f"{FILLS_IN_WORDS[choice.fill]}"
        + (f"; random seed {choice.seed}." if choice.random else ".")
    )
