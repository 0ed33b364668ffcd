"""A picture of start-up times for the README: bars of one benchmark's medians, as SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape

from figures import Figure

WIDTH, BAR, GAP, LABELS = 720, 16, 6, 300
OURS, OTHERS = "#2563eb", "#9ca3af"


def draw(startup: list[Figure]) -> str:
    """One group of bars for each command: milliseconds of each contender, the first ours."""
    parts, y = [], 10
    for title, times in _groups(startup).items():
        y += 22
        parts.append(_text(10, y, title, "bold"))
        y += 8
        # The slowest one's bar is cut, so that the others can be told apart.
        scale = sorted(times.values())[-2] * 1.3
        for contender, milliseconds in times.items():
            length = (WIDTH - LABELS - 130) * min(milliseconds / scale, 1)
            cut = ", bar cut" if milliseconds > scale else ""
            color = OURS if contender == "dockerc" else OTHERS
            parts.append(_text(20, y + BAR - 4, contender))
            parts.append(
                f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{color}"/>'
            )
            parts.append(_text(LABELS + length + 6, y + BAR - 4, f"{milliseconds:.1f} ms{cut}"))
            y += BAR + GAP
    size = f'width="{WIDTH}" height="{y + 10}" viewBox="0 0 {WIDTH} {y + 10}"'
    background = f'<rect width="{WIDTH}" height="{y + 10}" fill="#ffffff"/>'
    body = "\n".join([background, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def _groups(startup: list[Figure]) -> dict[str, dict[str, float]]:
    """Milliseconds by command and contender, of the images whose names say something."""
    groups: dict[str, dict[str, float]] = {}
    for figure in startup:
        image, _, command = figure.subject.partition(": ")
        if image in ("debian", "python") and not figure.rival.startswith("ours"):
            times = groups.setdefault(f"{command} ({image})", {"dockerc": figure.our_value})
            times[figure.rival] = figure.rival_value
    return groups


def _text(x: float, y: float, text: str, weight: str = "normal") -> str:
    font = f'font-family="sans-serif" font-size="13" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y}" {font} fill="#111827">{escape(text)}</text>'
