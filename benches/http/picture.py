"""Draws the latency of verification before, during and after a storm of logins, as an SVG."""

import math

from figures import percentile

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 400, 70, 20, 68, 54
BIN_SECONDS = 0.5
TARGET_MS = 10
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #d0d7de }  .storm { fill: #ddf4ff }  .target { stroke: #cf222e; stroke-dasharray: 2 4 }
  .line { fill: none; stroke-width: 1.8 }  .slowest { stroke-dasharray: 6 3; stroke-width: 1.2 }
  .a { stroke: #0969da }  .b { stroke: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .back { fill: #0d1117 }  .grid { stroke: #30363d }  .storm { fill: #12263f }
    .a { stroke: #58a6ff }  .b { stroke: #f0883e }  .target { stroke: #ff7b72 }
  }
"""


def in_bins(times, seconds):
    """Yields the middle of each half second, and the median and slowest time in it."""
    bins = [[] for _ in range(math.ceil(seconds / BIN_SECONDS))]
    for at, took in times:
        bins[min(int(at / BIN_SECONDS), len(bins) - 1)].append(took)
    for number, values in enumerate(bins):
        if values:
            yield (number + 0.5) * BIN_SECONDS, percentile(values, 50), max(values)


def draw(storms, path):
    """Draws the picture. `storms` maps the name of each database to the result of `storm.measure`."""
    seconds = max(storm["end"] + storm["begin"] for storm in storms.values())
    took = [value for storm in storms.values() for _, value in storm["times"]]
    low, high = math.floor(math.log10(min(took))), math.ceil(math.log10(max(*took, TARGET_MS)))
    x = lambda at: LEFT + at / seconds * (WIDTH - LEFT - RIGHT)
    y = lambda ms: HEIGHT - BOTTOM - (math.log10(ms) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    text = lambda at, down, words, more="": parts.append(f'<text x="{at:.1f}" y="{down:.1f}"{more}>{words}</text>')
    line = lambda x1, y1, x2, y2, kind: parts.append(
        f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Latency of verification before, during and after a storm of logins</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    begin, end = (next(iter(storms.values()))[name] for name in ("begin", "end"))
    parts.append(f'<rect class="storm" x="{x(begin):.1f}" y="{TOP}" width="{x(end) - x(begin):.1f}" '
                 f'height="{HEIGHT - TOP - BOTTOM}"/>')
    text(LEFT, 26, "Verification while 48 connections log in", ' class="title"')
    text((x(begin) + x(end)) / 2, HEIGHT - BOTTOM - 10, "storm of logins", ' text-anchor="middle"')
    for power in range(low, high + 1):
        line(LEFT, y(10**power), WIDTH - RIGHT, y(10**power), "grid")
        text(LEFT - 8, y(10**power) + 4, f"{10**power:g}", ' text-anchor="end"')
    step = max(1, 5 * round(seconds / 50))
    for at in range(0, int(seconds) + 1, step):
        text(x(at), HEIGHT - BOTTOM + 20, f"{at}", ' text-anchor="middle"')
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "time (s)", ' text-anchor="middle"')
    text(0, 0, "verification, each half second (ms)",
         f' text-anchor="middle" transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.1f}) rotate(-90)"')
    line(LEFT, y(TARGET_MS), WIDTH - RIGHT, y(TARGET_MS), "target")
    at = LEFT
    for kind, (name, storm) in zip("ab", storms.items()):
        points = list(in_bins(storm["times"], seconds))
        for number, style in ((1, ""), (2, " slowest")):
            path_data = " ".join(f"{x(point[0]):.1f},{y(point[number]):.1f}" for point in points)
            parts.append(f'<polyline class="line {kind}{style}" points="{path_data}"/>')
            line(at, 48, at + 28, 48, f"line {kind}{style}")
            words = f"{name}, {'slowest' if number == 2 else 'median'}"
            text(at + 34, 52, words)
            at += 50 + 7.2 * len(words)
    line(at, 48, at + 28, 48, "target")
    text(at + 34, 52, "p99 target")
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
