"""The table of goals, the tables of figures, and RESULTS.md."""

import statistics

from . import machine
from . import plot

RESULTS = machine.ROOT / "benches" / "RESULTS.md"
PICTURE = machine.ROOT / "benches" / "results.svg"
READING = "## How to read it"

GATEWAY, BARE = 'Portcullis, assertion "session"', "bare hyper proxy"
HAPROXY, HS256, NGINX = "HAProxy", "HAProxy, token under HS256", "nginx, no token check"

# What, of which figure and column, whose against whose, the goal and the bound.
GOALS = [
    ("CPU per request, h1", "h1", "µs", GATEWAY, HAPROXY, 0.60, 0.80),
    ("CPU per request, h2", "h2", "µs", GATEWAY, HAPROXY, 0.66, 0.90),
    ("CPU per request, h1", "h1", "µs", GATEWAY, NGINX, 0.80, 1.00),
    ("CPU per request, h1", "h1", "µs", GATEWAY, BARE, 1.15, 1.40),
    ("CPU per request, h2", "h2", "µs", GATEWAY, BARE, 1.15, 1.40),
    ("CPU per full handshake and first request", "handshake", "µs", GATEWAY, HAPROXY, 0.38, 0.45),
    ("CPU per MiB of a 1 MiB download", "download", "µs", GATEWAY, HAPROXY, 0.70, 0.85),
    ("requests per second, both cores shared, h1", "shared", "per s", GATEWAY, HAPROXY, 1.4, 1.1),
    ("memory per idle TLS connection, KiB", "idle", "KiB", GATEWAY, None, 20, 24),
    ("p99 under a flood of logins", "flood", "ratio", 0, None, 2, 2),
    ("CPU per request, many routes", "routes", "µs", 1, 0, 1.10, 1.10),
    ("CPU per request, many limiter keys", "keys", "µs", 1, 0, 1.10, 1.10),
    ("CPU per request, many tokens", "tokens", "µs", 3, 2, 1.10, 1.10),
]

# Read beside the goals: the cheapest token that HAProxy can check.
BESIDE = [
    ("CPU per request, h1", "h1", "µs", GATEWAY, HS256, None, None),
    ("CPU per request, h2", "h2", "µs", GATEWAY, HS256, None, None),
    ("CPU per full handshake and first request", "handshake", "µs", GATEWAY, HS256, None, None),
]


def goals(figures):
    """The rows of the goals whose figures were measured."""
    rows = ["| | against | goal | not above | measured | spread | |", "|---|---|--:|--:|--:|--:|---|"]
    for what, key, column, whose, against, goal, bound in GOALS + BESIDE:
        if key not in figures:
            continue
        figure = figures[key]
        whose, against = named(figure, whose), named(figure, against)
        measured = figure.ratios(whose, against, column) if against else figure.values(whose, column)
        told = statistics.median(measured)
        digits = 1 if told > 10 else 2
        cells = [what, against or "", *limits(goal, bound), f"**{told:.{digits}f}**", spread(measured, digits)]
        rows.append("| " + " | ".join([*cells, verdict(told, goal, bound)]) + " |")
    return "\n".join(rows)


def named(figure, whose):
    """The name of a contender, or of the first, second, ... of the figure."""
    return list(figure.samples)[whose] if isinstance(whose, int) else whose


def limits(goal, bound):
    if goal is None:
        return "", ""
    return f"{goal:g}", f"at least {bound:g}" if bound < goal else f"{bound:g}"


def verdict(told, goal, bound):
    if goal is None:
        return "(for comparison)"
    # Of requests per second more is better; there the bound is below the goal.
    sign = -1 if bound < goal else 1
    if sign * told <= sign * goal:
        return "met"
    return "goal missed, within the bound" if sign * told <= sign * bound else "missed"


def table(figure):
    """What was measured of each contender, and the spread where there were rounds."""
    heads = [cell for column in figure.columns for cell in (column, "spread")]
    rows = [f"| | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
    for name in figure.samples:
        cells = [name]
        for column, digits in figure.columns.items():
            values = figure.values(name, column)
            cells += [f"{statistics.median(values):.{digits}f}", spread(values, digits)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def spread(values, digits):
    return f"{min(values):.{digits}f}–{max(values):.{digits}f}" if len(values) > 1 else ""


def write(figures, options):
    """The measured part is written anew; what people wrote below it stays."""
    PICTURE.write_text(plot.draw(figures))
    written = RESULTS.read_text() if RESULTS.exists() else READING + "\n"
    foreign = max(figure.foreign for figure in figures.values())
    tables = "\n\n".join(f"### {figure.title}\n\n{table(figure)}" for figure in figures.values())
    RESULTS.write_text(f"""\
# What a request costs

`benches/run` measured this in one run with profile `{options.profile}`: {options.rounds} interleaved rounds of {options.seconds} s after a warm-up,
medians. TLS 1.3 with one suite (TLS_AES_128_GCM_SHA256), one group (X25519) and the same P-256 certificate for everybody; the upstream speaks
HTTP/1.1, keeps its connections and answers with 100 bytes. Unless a title says otherwise each proxy had one thread and core 0 to
itself, and load and upstream had core 1. CPU is user and kernel time of the whole process; ratios are those within a round. Before
anything was timed each proxy proved that it does its job, and afterwards that it logged every request. Whatever else ran took at
most {foreign:.0%} of the two cores during any sample.

{machine.describe()}. {machine.versions()}.

## Goals

{goals(figures)}

![CPU microseconds per request, handshake and MiB, by proxy]({PICTURE.name})

## Figures

{tables}

{READING}{written.partition(READING)[2]}""")
