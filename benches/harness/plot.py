"""Bars of what each proxy costs, as an SVG that is readable on light and on dark."""

import html
import statistics

# Those that are measured in CPU time, in the order in which they are drawn.
PANELS = {
    "h1": "CPU µs per request, HTTP/1.1",
    "h2": "CPU µs per request, HTTP/2",
    "handshake": "CPU µs per full handshake and first request",
    "download": "CPU µs per MiB downloaded",
}

# The first colours are for those who do not say whether they draw on light or on dark.
STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #768390 }
.title { font-weight: 600; font-size: 13px }
.bar { fill: #8b96a3 }
.ours { fill: #3f7fe8 }
.spread { stroke: #545d68; stroke-width: 1.5; fill: none }
@media (prefers-color-scheme: light) {
  text { fill: #24292f }
  .spread { stroke: #24292f }
}
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6b7683 }
  .spread { stroke: #e6edf3 }
}"""

WIDTH, NAMES, BAR, STEP, TITLE, GAP = 760, 230, 14, 22, 26, 20
# What is right of a bar: its figure.
FIGURE = 70


def draw(figures):
    """One panel below the other."""
    parts, top = [], 0
    for key, title in PANELS.items():
        if key in figures:
            parts += panel(figures[key], title, top)
            top += TITLE + STEP * len(figures[key].samples) + GAP
    body = "\n".join(parts)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">
<style>
{STYLE}
</style>
{body}
</svg>
"""


def panel(figure, title, top):
    values = {name: figure.values(name, "µs") for name in figure.samples}
    longest = max(max(samples) for samples in values.values())
    scale = (WIDTH - NAMES - FIGURE) / longest
    yield f'<text class="title" x="0" y="{top + 14}">{title}</text>'
    for row, (name, samples) in enumerate(values.items()):
        y = top + TITLE + STEP * row
        middle = y + BAR / 2
        median = statistics.median(samples)
        least, most = (NAMES + end * scale for end in (min(samples), max(samples)))
        ours = " ours" if name.startswith("Portcullis") else ""
        yield f'<text x="{NAMES - 8}" y="{y + 11}" text-anchor="end">{html.escape(name)}</text>'
        yield f'<rect class="bar{ours}" x="{NAMES}" y="{y}" width="{median * scale:.1f}" height="{BAR}" rx="2"/>'
        yield f'<path class="spread" d="M{least:.1f} {middle}H{most:.1f}"/>'
        yield f'<text x="{most + 6:.1f}" y="{y + 11}">{median:.1f}</text>'
