"""What a person chose to switch off, the ablation that it stands for, and both in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssah_core.ablation import Ablation, Fill, Match
from ssah_core.models.anatomy import Kinds, in_ranges
from ssah_core.roles import Role, Roles, assign_roles
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
    """The settings that make an ablation: which units, by how much, filled with what.

    `strongest` and `strength` are percents; `layers` the first and last layer whose units count (None:
    all); `control` asks for as many random units instead, matched by size or by layer.
    """

    roles: tuple[Role, ...]
    strongest: int
    strength: int
    layers: tuple[int, int] | None
    control: Match | None
    seed: int
    fill: Fill
    shares: tuple[float, float, float]  # ESU, EUU, RU
    tokens: Tokens
    kinds: Kinds
    added: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()

    def acts_like(self, other: Choice) -> bool:
        """Whether both switch off the same: a setting that is not in use makes no difference."""
        return self._in_use() == other._in_use()

    def _in_use(self) -> Choice | None:
        chooses = self.roles and self.strongest > 0
        if self.strength == 100 or not (chooses or self.added):
            return None
        roles = tuple(sorted(self.roles)) if chooses else ()
        return replace(self, roles=roles, seed=self.seed if self.control else 0)

    @property
    def layer_list(self) -> list[int] | None:
        """The layers that count, one by one; None for all."""
        return None if self.layers is None else list(range(self.layers[0], self.layers[1] + 1))


@dataclass(frozen=True)
class Setting:
    """A choice as a reply carries it: in words, and with what made it for the small print."""

    choice: Choice
    label: str
    made_by: str


def describe(run: Run, choice: Choice, cut: Ablation | None) -> Setting:
    """The setting of every reply that is given from now on."""
    return Setting(choice, in_words(choice, cut), _provenance(run, choice))


def assign(run: Run, shares: tuple[float, float, float], tokens: Tokens, kinds: Kinds) -> Roles:
    """The roles of a run's units by shares of ESU, EUU and RU."""
    esu, euu, ru = shares
    return assign_roles(run.scores, esu, euu, ru, tokens=tokens, kinds=kinds)


def build_ablation(roles: Roles, choice: Choice) -> Ablation | None:
    """The ablation of a choice; None where nothing is switched off."""
    cut = Ablation.of(
        roles,
        choice.roles,
        strongest=choice.strongest / 100,
        factor=choice.strength / 100,
        fill=choice.fill,
        layers=choice.layer_list,
        also=choice.added,
        spare=choice.spared,
    )
    if choice.control is not None:
        cut = Ablation.random_like(cut, seed=choice.seed, match=choice.control)
    return cut if cut.count else None


def in_words(choice: Choice, cut: Ablation | None) -> str:
    """For example "ESU off: 291 of 3,648 units (8.0%)"."""
    if cut is None:
        empty = choice.roles and choice.strongest and choice.strength != 100
        return (
            f"Nothing off: too few units are {' or '.join(choice.roles)}"
            if empty
            else "Nothing off"
        )
    what = _what(choice)
    if choice.control is not None:
        what = f"random units, as many as {what},"
    done = "off" if choice.strength == 0 else f"at {choice.strength}%"
    share = cut.count / cut.anatomy.units
    words = f"{what} {done}: {cut.count:,} of {cut.anatomy.units:,} units ({share:.1%})"
    return words[0].upper() + words[1:]


def _what(choice: Choice) -> str:
    parts = []
    if choice.roles and choice.strongest:
        part = "" if choice.strongest == 100 else f"strongest {choice.strongest}% of "
        where = "" if choice.layers is None else f" of {in_ranges(choice.layer_list or [])}"
        parts.append(part + " + ".join(choice.roles) + where)
    if choice.added:
        parts.append(_counted(choice.added))
    words = " + ".join(parts)
    return words + (f" without {_counted(choice.spared)}" if choice.spared else "")


def _counted(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names):,} single units"


def _provenance(run: Run, choice: Choice) -> str:
    """What made an ablation, for the small print."""
    safety, utility = run.scores.safety_prompts, run.scores.utility_prompts
    esu, euu, ru = choice.shares
    return (
        f"{run.scores.model}, units scored on {len(safety):,} safety and {len(utility):,} utility "
        f"prompts. Roles by {choice.tokens} tokens, {KINDS_IN_WORDS[choice.kinds]}: ESU {esu:.1%}, "
        f"EUU {euu:.1%}, RU {ru:.1%} of all units. Units that are off put out "
        f"{FILLS_IN_WORDS[choice.fill]}"
        + (f"; random seed {choice.seed}." if choice.control else ".")
    )
