"""Draws each dashboard of grafana/ as a picture, from the data of a running stack: the panels' own queries, laid out as they are.

    draw.py "target/release/stack ctl --run-dir .run/demo" docs/images/dashboards --seconds 300

Starts a private Prometheus, waits, and draws what it saw. Not Grafana's own drawing: what is looked at here is whether each panel says
something, in its unit, under names that one understands.
"""

import argparse
import json
import math
import tempfile
import textwrap
import time
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.colors import PowerNorm
from matplotlib.dates import DateFormatter, date2num
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from PIL import Image
from datetime import datetime

from clients import Clients
from prometheus import DASHBOARDS, Prometheus, Stack, filled, panels

STEP = 5
CELL = (66, 34)  # pixels of a cell of the grid
DPI = 100
INK, FAINT, PANEL, BACK = "#d8d9da", "#8e9297", "#181b1f", "#0b0c0e"
COLOURS = {"green": "#73bf69", "yellow": "#f2cc0c", "orange": "#ff9830", "red": "#f2495c"}
LINES = pyplot.get_cmap("tab20").colors[::2] + pyplot.get_cmap("tab20").colors[1::2]


def shown(value, unit="", decimals=None):
    """A value as Grafana writes it, about."""
    if value is None or math.isnan(value):
        return "–"
    if unit in ("bool_yes_no", "bool_on_off"):
        return {"bool_yes_no": ("No", "Yes"), "bool_on_off": ("Off", "On")}[unit][bool(value)]
    digits = decimals if decimals is not None else 0 if value == int(value) else 1 if abs(value) >= 10 else 2
    if unit == "s":
        for limit, sign, factor in [(1e-3, "µs", 1e6), (1, "ms", 1e3), (60, "s", 1)]:
            if abs(value) < limit:
                scaled = value * factor
                return "0 s" if value == 0 else f"{scaled:.{0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2}f} {sign}"
        return f"{value / 60:.1f} min"
    if unit == "percentunit":
        return f"{100 * value:.{1 if decimals is None else decimals}f}%"
    if unit in ("bytes", "Bps"):
        for limit, sign in [(2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki")]:
            if abs(value) >= limit:
                return f"{value / limit:.1f} {sign}B{'/s' if unit == 'Bps' else ''}"
        return f"{value:.0f} B{'/s' if unit == 'Bps' else ''}"
    name = {"fps": " fps", "cps": "/s", "cpm": "/min", "mps": "/s", "reqps": "/s", "ops": "/s"}.get(unit, unit.removeprefix("suffix:"))
    for limit, sign in [(1e9, "G"), (1e6, "M"), (1e4, "k")]:
        if abs(value) >= limit:
            return f"{value / (1e3 if sign == 'k' else limit):.1f} {sign}{name}"
    return f"{value:.{digits}f}{name}"


class Picture:
    """One dashboard."""

    def __init__(self, prometheus, start, end):
        self.prometheus, self.start, self.end = prometheus, start, end
        self.silent = []

    def draw(self, dashboard, path):
        every = dashboard["panels"]
        rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in every)
        self.width, self.height = 24 * CELL[0], (rows + 1.4) * CELL[1]
        self.figure = pyplot.figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI, facecolor=BACK)
        self.write(10, 14, dashboard["title"], size=13, weight="bold")
        for panel in every:
            self.panel(panel)
        self.figure.savefig(path, facecolor=BACK)
        pyplot.close(self.figure)
        Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    def write(self, x, y, text, size=9, color=INK, **more):
        """At these pixels from the top left."""
        self.figure.text(x / self.width, 1 - y / self.height, text, fontsize=size, color=color, va="center", **more)

    def panel(self, panel):
        place = panel["gridPos"]
        left, top = place["x"] * CELL[0] + 3, (place["y"] + 1.2) * CELL[1]
        self.box = (left, top, place["w"] * CELL[0] - 6, place["h"] * CELL[1] - 6)
        if panel["type"] == "row":
            return self.write(left + 6, top + CELL[1] / 2, f"▾ {panel['title']}", size=11, weight="bold")
        left, top, width, height = self.box
        corner = (left / self.width, 1 - (top + height) / self.height)
        size = (width / self.width, height / self.height)
        self.figure.add_artist(Rectangle(corner, *size, facecolor=PANEL, edgecolor="#2c3235", linewidth=0.7, zorder=-1))
        self.write(left + 8, top + 13, panel["title"], weight="bold")
        {"timeseries": self.lines, "stat": self.number, "heatmap": self.heat, "table": self.table}[panel["type"]](panel)

    def axes(self, left=58, right=10, top=28, bottom=24):
        x, y, width, height = self.box
        place = [
            (x + left) / self.width,
            1 - (y + height - bottom) / self.height,
            (width - left - right) / self.width,
            (height - top - bottom) / self.height,
        ]
        axes = self.figure.add_axes(place, facecolor=PANEL)
        axes.tick_params(colors=FAINT, labelsize=7.5, length=0)
        axes.grid(color="#2c3235", linewidth=0.6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def over_time(self, axes):
        axes.set_xlim(self.moment(self.start), self.moment(self.end))
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if self.end - self.start < 300 else "%H:%M"))
        axes.xaxis.set_major_locator(pyplot.MaxNLocator(5))

    @staticmethod
    def moment(seconds):
        return date2num(datetime.fromtimestamp(seconds))

    def no_data(self, panel):
        self.silent.append(panel["title"])
        left, top, width, height = self.box
        self.write(left + width / 2, top + height / 2, "No data", color=FAINT, ha="center")

    def course(self, panel):
        """Each series of a panel: its legend, times and values, NaN where there is none."""
        times = [self.start + STEP * i for i in range(int((self.end - self.start) / STEP) + 1)]
        for target in panel["targets"]:
            for labels, values in self.prometheus.course(filled(target["expr"], "20s"), self.start, self.end, STEP):
                legend = target["legendFormat"]
                for name, value in labels.items():
                    legend = legend.replace("{{" + name + "}}", value)
                known = {round((at - self.start) / STEP): value for at, value in values}
                yield legend, times, [known.get(i, math.nan) for i in range(len(times))]

    def lines(self, panel):
        series = [s for s in self.course(panel) if not all(map(math.isnan, s[2]))]
        if not series:
            return self.no_data(panel)
        defaults = panel["fieldConfig"]["defaults"]
        unit, decimals = defaults.get("unit", ""), defaults.get("decimals")
        wide = self.box[2] > 700
        axes = self.axes(right=280 if wide else 250)
        series.sort(key=lambda s: -max(v for v in s[2] if not math.isnan(v)))
        at = [self.moment(t) for t in series[0][1]]
        if defaults["custom"]["stacking"]["mode"] == "normal":
            axes.stackplot(at, [[0 if math.isnan(v) else v for v in s[2]] for s in series], colors=LINES, alpha=0.75, linewidth=0)
        else:
            for (_, _, values), colour in zip(series, LINES * 9):
                axes.plot(at, values, color=colour, linewidth=1.4)
        if defaults["custom"].get("scaleDistribution", {}).get("type") == "log":
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        else:
            top = defaults.get("max") or max(axes.get_ylim()[1], 1e-9)
            axes.set_ylim(0, top)
            for step in defaults.get("thresholds", {}).get("steps", [])[1:]:
                if step["value"] <= top:
                    axes.axhline(step["value"], color=COLOURS[step["color"]], linestyle="--", linewidth=0.9)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit)))
        self.over_time(axes)
        self.legend(series, unit, decimals, 272 if wide else 242)

    def legend(self, series, unit, decimals, room):
        left, top, width, height = self.box
        x, y, fits = left + width - room, top + 30, int((height - 40) / 15)
        for place, name in [(room - 70, "last"), (room - 10, "max")]:
            self.write(x + place, y - 13, name, size=7, color=FAINT, ha="right")
        for index, ((legend, _, values), colour) in enumerate(zip(series[:fits], LINES * 9)):
            there = [v for v in values if not math.isnan(v)]
            row = y + 15 * index
            self.write(x, row, "▬", size=7, color=colour)
            self.write(x + 14, row, textwrap.shorten(legend, 26, placeholder="…") if " " in legend else legend[:26], size=7.5)
            self.write(x + room - 70, row, shown(there[-1], unit, decimals), size=7.5, ha="right")
            self.write(x + room - 10, row, shown(max(there), unit, decimals), size=7.5, ha="right")
        if len(series) > fits:
            self.write(x + 14, y + 15 * fits, f"and {len(series) - fits} more", size=7, color=FAINT)

    def colour_of(self, value, thresholds):
        steps = (thresholds or {}).get("steps", [])
        name = next((s["color"] for s in reversed(steps) if s["value"] is None or value >= s["value"]), "green")
        return COLOURS[name]

    def number(self, panel):
        series = [s for s in self.course(panel) if not all(map(math.isnan, s[2]))]
        if not series:
            return self.no_data(panel)
        defaults = panel["fieldConfig"]["defaults"]
        values = series[0][2]
        last = [v for v in values if not math.isnan(v)][-1]
        colour = self.colour_of(last, defaults.get("thresholds"))
        axes = self.axes(left=2, right=2, top=70, bottom=2)
        axes.axis("off")
        axes.fill_between(range(len(values)), values, color=colour, alpha=0.25, linewidth=0)
        left, top, width, height = self.box
        self.write(left + width / 2, top + height * 0.5, shown(last, defaults.get("unit", ""), defaults.get("decimals")), size=22,
                   color=colour, ha="center", weight="bold")

    def heat(self, panel):
        series = {float(legend): values for legend, _, values in self.course(panel)}
        bounds = sorted(series)
        rows, below = [], None
        for bound in bounds:
            now = [0 if math.isnan(v) else v for v in series[bound]]
            rows.append([max(0, a - b) for a, b in zip(now, below)] if below else now)
            below = now
        filled_rows = [i for i, row in enumerate(rows) if any(v > 1e-9 for v in row)]
        if not filled_rows:
            return self.no_data(panel)
        low, high = max(0, filled_rows[0] - 1), min(len(rows), filled_rows[-1] + 2)
        unit = panel["options"]["yAxis"].get("unit", "")
        axes = self.axes()
        axes.grid(False)
        cells = [[v if v > 1e-9 else math.nan for v in row] for row in rows[low:high]]
        times = [self.moment(self.start + STEP * (i - 0.5)) for i in range(len(cells[0]) + 1)]
        axes.pcolormesh(times, range(low, high + 1), cells, cmap="turbo", norm=PowerNorm(0.5, vmin=0), rasterized=True)
        ticks = range(low, high, max(1, (high - low) // 8))
        axes.set_yticks([tick + 1 for tick in ticks], [shown(bounds[tick], unit) if bounds[tick] < math.inf else "∞" for tick in ticks])
        self.over_time(axes)

    def table(self, panel):
        columns = panel["transformations"][1]["options"]
        order = sorted(columns["indexByName"], key=columns["indexByName"].get)
        labels = [name for name in order if not name.startswith("Value #")]
        looks = {o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]} for o in panel["fieldConfig"]["overrides"]}
        rows = []
        for number, target in enumerate(panel["targets"]):
            for of, value in self.prometheus.now(filled(target["expr"], "20s"), self.end):
                mine = {name: of[name] for name in labels if name in of}
                # As Grafana merges: rows whose common labels are equal are one.
                same = [row for row in rows if all(row.get(name, text) == text for name, text in mine.items())]
                for row in same or [{}]:
                    if not same:
                        rows.append(row)
                    row.update(mine)
                    row[order[len(labels) + number]] = value
        if not rows:
            return self.no_data(panel)
        left, top, width, height = self.box
        each = (width - 16) / len(order)
        rows.sort(key=lambda row: [row.get(name, "") for name in labels])
        for by in panel["options"].get("sortBy", []):
            name = next(name for name in order if columns["renameByName"].get(name, name) == by["displayName"])
            rows.sort(key=lambda row: row.get(name, 0), reverse=by["desc"])
        for column, name in enumerate(order):
            x, title = left + 10 + each * column, columns["renameByName"].get(name, name)
            self.write(x, top + 36, title, size=8, color=FAINT, weight="bold")
            look = looks.get(title, {})
            for index, row in enumerate(rows[: int((height - 50) / 18)]):
                cell = row.get(name)
                colour = INK
                if isinstance(cell, float):
                    if "thresholds" in look:
                        colour = self.colour_of(cell, look["thresholds"])
                    cell = shown(cell, look.get("unit", ""), look.get("decimals"))
                self.write(x, top + 56 + 18 * index, str(cell if cell is not None else "–")[: max(8, int(each / 6.5))], size=8, color=colour)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("control", help="the command that controls the stack, `… ctl --run-dir FOLDER`")
    arguments.add_argument("out", type=Path, help="folder of the pictures")
    arguments.add_argument("--gateway", help="its address: clients use it meanwhile, as people would")
    arguments.add_argument("--seconds", type=int, default=300, help="how long to look")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Prometheus(Stack(given.control), folder, interval=STEP) as prometheus:
        start = time.time()
        if given.gateway:
            Clients(given.gateway)
        time.sleep(given.seconds)
        picture = Picture(prometheus, start, time.time())
        for path in DASHBOARDS:
            picture.silent = []
            picture.draw(json.loads(path.read_text()), given.out / f"{path.stem}.png")
            print(f"{path.stem}: without data: {', '.join(picture.silent) or 'none'}")


main()
