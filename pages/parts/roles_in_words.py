"""The four roles for the eye: a colour, the letters, one line each."""

from __future__ import annotations

from ssah_core.figures import ROLE_COLOURS
from ssah_core.roles import Role

SHORT: dict[Role, str] = {
    "ESU": "safety only",
    "EUU": "usefulness only",
    "CU": "both",
    "RU": "neither",
}
MEANINGS: dict[Role, str] = {
    "ESU": "exclusive safety units: they matter for safety only",
    "EUU": "exclusive utility units: they matter for useful answers only",
    "CU": "complex units: they matter for both",
    "RU": "redundant units: they matter for neither",
}


def label(role: Role) -> str:
    """For example a red square, "ESU" and "safety only", in Markdown."""
    return f':color[■]{{foreground="{ROLE_COLOURS[role]}"}} **{role}** {SHORT[role]}'


def meanings() -> str:
    """All four in full, in Markdown, for a tooltip."""
    return "  \n".join(f"**{role}** {meaning}." for role, meaning in MEANINGS.items())
