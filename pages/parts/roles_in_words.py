"""The four roles for the eye: colours that stay apart for colour-blind eyes, letters, one line each."""

COLOURS = {"ESU": "#D55E00", "EUU": "#0072B2", "CU": "#CC79A7", "RU": "#999999"}
MEANINGS = {
    "ESU": "exclusive safety units: they matter for refusing, hardly for anything else",
    "EUU": "exclusive utility units: they matter for useful answers, hardly for refusing",
    "CU": "complex units: they matter for both",
    "RU": "redundant units: they matter for neither",
}


def legend() -> str:
    """The roles as HTML: a coloured square, the letters, the meaning."""
    items = [
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:.75em;'
        f'height:.75em;border-radius:2px;background:{COLOURS[role]}"></span> <b>{role}</b></span> '
        f"{meaning}"
        for role, meaning in MEANINGS.items()
    ]
    rows = "".join(f'<div style="margin:.15em 0">{item}</div>' for item in items)
    return f'<div style="font-size:.875rem;opacity:.85">{rows}</div>'
