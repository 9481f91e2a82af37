"""Draws the first row of the overview from what Prometheus has: an SVG like what Grafana shows, for the README.

Only what the dashboards use is understood: numbers with thresholds, and lines over time with a legend and a limit.
"""

import html
import json
import math
import subprocess
import time

from processes import BINARY, ROOT, SECRET

WIDTH = 1200
COLUMN = WIDTH / 24
ROW = 30
GAP = 4
# Points of a line.
STEPS = 100
# Lines of a legend; a panel with more says how many are left out.
LEGEND_MAX = 3
BACKGROUND, PANEL, EDGE, GRID, TEXT, FAINT = "#111217", "#181b1f", "#2c3235", "#23272b", "#d8d9da", "#8e9196"
COLORS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fade2a", "#56a64b"]
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c"}
# What Grafana puts into expressions, and what stands for it here.
VARIABLES = {"$job": "stentor", "$instance": ".*", "$__rate_interval": "10s"}
# Workloads of `stentor bench`, each for a while, so that there is something to be seen.
WORKLOADS = ["w3", "w1", "w2"]


# ---------------------------------------------------------------------------------------------- Numbers for people


def scaled(value, base, names):
    """A number with a prefix: 12300 is 12.3 K."""
    index = 0
    while abs(value) >= base and index < len(names) - 1:
        value, index = value / base, index + 1
    return value, names[index]


def digits(value):
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def told(value, unit):
    """A value as Grafana would say it."""
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    if unit == "s":
        if value >= 60:
            return f"{value / 60:.3g} min"
        for limit, factor, name in [(1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "µs")]:
            if value >= limit:
                return f"{value * factor:.3g} {name}"
    if unit == "bytes":
        number, name = scaled(value, 1024, ["B", "KiB", "MiB", "GiB"])
        return f"{digits(number)} {name}"
    if unit == "Bps":
        number, name = scaled(value, 1000, ["B/s", "kB/s", "MB/s", "GB/s"])
        return f"{digits(number)} {name}"
    number, name = scaled(value, 1000, ["", " K", " M"])
    return digits(number) + name + ("/s" if unit == "cps" else "")


# ---------------------------------------------------------------------------------------------- Drawing


class Canvas:
    def __init__(self):
        self.parts = []

    def text(self, x, y, text, size=11, color=TEXT, anchor="start", weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"'
            f' font-weight="{weight}">{html.escape(text)}</text>'
        )

    def rect(self, x, y, width, height, fill, edge=None):
        stroke = f' stroke="{edge}" rx="3"' if edge else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"{stroke}/>'
        )

    def line(self, points, color, width=1.2, dash=None):
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dashes}/>')

    def area(self, points, bottom, color, opacity):
        corners = [(points[0][0], bottom), *points, (points[-1][0], bottom)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"
        self.parts.append(f'<path d="{path}" fill="{color}" fill-opacity="{opacity}"/>')

    def svg(self, height, title):
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'font-family="Inter, Helvetica, Arial, sans-serif" role="img">\n<title>{html.escape(title)}</title>\n'
            f'<rect width="100%" height="100%" fill="{BACKGROUND}"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
        )


def color_of(value, steps):
    color = "green"
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return NAMED[color]


def draw_stat(canvas, panel, box, series):
    x, y, width, height = box
    samples = series[0][1] if series else []
    if not samples:
        canvas.text(x + width / 2, y + height / 2 + 8, "no data", 14, FAINT, "middle")
        return
    defaults = panel["fieldConfig"]["defaults"]
    value = samples[-1][1]
    color = color_of(value, defaults["thresholds"]["steps"])
    low, high = min(v for _, v in samples), max(v for _, v in samples)
    first, last = samples[0][0], samples[-1][0]
    across, up = (width - 2) / ((last - first) or 1), 28 / ((high - low) or 1)
    points = [(x + 1 + across * (at - first), y + height - 2 - up * (v - low)) for at, v in samples]
    canvas.area(points, y + height - 1, color, 0.15)
    canvas.line(points, color, 1)
    canvas.text(x + width / 2, y + height / 2 + 14, told(value, defaults["unit"]), 22, color, "middle", "600")


def ticks(low, high, log, unit):
    """Where the lines of the grid are, from below the lowest value to above the highest."""
    if log:
        return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    base = 1024 ** math.floor(math.log(high, 1024)) if unit == "bytes" and high > 0 else 1
    high = high / base or 1
    step = 10 ** math.floor(math.log10(high / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) <= 5)
    return [base * step * number for number in range(math.floor(high / step) + 2)]


def draw_graph(canvas, panel, box, series):
    x, y, width, height = box
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults["custom"], defaults["unit"]
    log = custom["scaleDistribution"]["type"] == "log"
    limits = [step["value"] for step in defaults["thresholds"]["steps"] if step["value"] is not None]
    limits = limits if custom["thresholdsStyle"]["mode"] == "line" else []
    series = [(name, [(at, v) for at, v in samples if not log or v > 0]) for name, samples in series]
    series = [(name, samples) for name, samples in series if samples]
    legend = sorted(series, key=lambda one: -max(v for _, v in one[1]))
    left, right, top = x + 52, x + width - 10, y + 30
    bottom = y + height - 24 - 14 * min(len(series), LEGEND_MAX + 1)
    values = [v for _, samples in series for _, v in samples] + limits
    if not series:
        canvas.text(x + width / 2, y + height / 2, defaults.get("noValue", "no data"), 13, FAINT, "middle")
        return
    marks = ticks(min(values), max(values), log, unit)
    low, high = marks[0], marks[-1]

    def up(value):
        share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return bottom - (bottom - top) * share

    first = min(samples[0][0] for _, samples in series)
    last = max(samples[-1][0] for _, samples in series)

    def along(at):
        return left + (right - left) * (at - first) / ((last - first) or 1)

    for mark in marks:
        canvas.line([(left, up(mark)), (right, up(mark))], GRID, 1)
        canvas.text(left - 6, up(mark) + 3, told(mark, unit), 9, FAINT, "end")
    for share, anchor in [(0, "start"), (1 / 3, "middle"), (2 / 3, "middle"), (1, "end")]:
        at = first + (last - first) * share
        canvas.text(along(at), bottom + 12, time.strftime("%H:%M:%S", time.gmtime(at)), 9, FAINT, anchor)
    for number, (name, samples) in enumerate(legend):
        points = [(along(at), up(v)) for at, v in samples]
        color = COLORS[number % len(COLORS)]
        canvas.area(points, bottom, color, custom["fillOpacity"] / 100)
        canvas.line(points, color)
        if number < LEGEND_MAX or len(legend) == LEGEND_MAX + 1:
            at = bottom + 27 + 14 * number
            canvas.rect(left - 40, at - 5, 12, 3, color)
            canvas.text(left - 22, at, name, 10)
            peak = max(v for _, v in samples)
            canvas.text(right, at, f"last {told(samples[-1][1], unit)}, max {told(peak, unit)}", 10, FAINT, "end")
    if len(legend) > LEGEND_MAX + 1:
        rest = f"and {len(legend) - LEGEND_MAX} more"
        canvas.text(left - 22, bottom + 27 + 14 * LEGEND_MAX, rest, 10, FAINT)
    for limit in limits:
        canvas.line([(left, up(limit)), (right, up(limit))], NAMED["red"], 1.2, "6 4")
        canvas.text(right, up(limit) - 4, told(limit, unit), 10, NAMED["red"], "end")


# ---------------------------------------------------------------------------------------------- Where the data are from


def name_of(target, labels):
    legend = target["legendFormat"]
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return "" if legend == "__auto" else legend


def series_of(prometheus, panel, start, end):
    found = []
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        for labels, samples in prometheus.query_range(expression, start, end, max(1, (end - start) / STEPS)):
            samples = [(at, value) for at, value in samples if math.isfinite(value)]
            if samples:
                found.append((name_of(target, labels), samples))
    return found


def first_row(dashboard):
    """The panels between the first row's head and the second's."""
    heads = [number for number, panel in enumerate(dashboard["panels"]) if panel["type"] == "row"]
    return dashboard["panels"][heads[0] + 1 : heads[1]]


def draw(prometheus, server, file, minutes):
    """Loads the server for so many minutes, more than the test does, and draws what comes of it."""
    start, seconds = time.time(), minutes * 60
    for workload in WORKLOADS:
        # One second more to warm up, and a few to connect.
        command = [
            BINARY, "bench", "--workload", workload, "--url", f"ws://{server.client}/ws", "--token-secret", SECRET,
            "--seconds", str(max(1, int(seconds / len(WORKLOADS)) - 4)),
        ]
        # What it thinks of the machine is of no interest here.
        subprocess.run(command, check=False, capture_output=True, timeout=seconds + 60)
    dashboard = json.loads((ROOT / "dashboards" / "overview.json").read_text(encoding="utf-8"))
    panels = first_row(dashboard)
    top = min(panel["gridPos"]["y"] for panel in panels)
    canvas = Canvas()
    canvas.text(14, 26, dashboard["title"], 16, TEXT, "start", "600")
    end = time.time()
    span = f"{time.strftime('%H:%M', time.gmtime(start))} to {time.strftime('%H:%M', time.gmtime(end))} UTC"
    canvas.text(WIDTH - 14, 26, span, 11, FAINT, "end")
    height = 0
    for panel in panels:
        at = panel["gridPos"]
        x, y = at["x"] * COLUMN, 40 + (at["y"] - top) * ROW
        box = (x + GAP, y + GAP, at["w"] * COLUMN - 2 * GAP, at["h"] * ROW - 2 * GAP)
        height = max(height, box[1] + box[3])
        canvas.rect(*box, PANEL, EDGE)
        canvas.text(box[0] + 10, box[1] + 18, panel["title"], 12, TEXT, "start", "500")
        drawing = draw_stat if panel["type"] == "stat" else draw_graph
        drawing(canvas, panel, box, series_of(prometheus, panel, start, end))
    file.write_text(canvas.svg(height + 2 * GAP, dashboard["title"]), encoding="utf-8")
