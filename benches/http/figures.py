"""Turns measurements into figures: percentiles, ratios of rounds, targets."""

import statistics


def percentile(values, percent):
    """Returns the smallest value that `percent` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def ratio(rounds, one, other):
    """Divides one rate by another in each round, and returns the median, lowest and highest ratio."""
    ratios = [measured[one]["rps"] / measured[other]["rps"] for measured in rounds]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def rate(rounds, cell):
    return statistics.median(measured[cell]["rps"] for measured in rounds)


class Targets:
    """Targets and whether they were met."""

    def __init__(self):
        self.rows = []

    def add(self, what, seen, wanted, is_met):
        self.rows.append({"what": what, "seen": seen, "wanted": wanted, "met": bool(is_met)})

    def at_least(self, what, ratio, wanted):
        self.add(what, in_words(ratio), f"≥ {wanted}", ratio["median"] >= wanted)

    def at_most(self, what, value, wanted, unit):
        self.add(what, f"{value:.3g} {unit}", f"≤ {wanted} {unit}", value <= wanted)


def in_words(ratio):
    return f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"


def table(heads, rows):
    """Returns a Markdown table with aligned columns."""
    rows = [heads, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)
