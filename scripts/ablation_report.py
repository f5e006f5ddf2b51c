"""What the runs of an ablation came to: tables in Markdown, and curve.png."""

import json
import math
import statistics

from PIL import Image, ImageDraw, ImageFont

BASE = "fme"
WEATHERS = ("rain", "drops", "snow", "haze")
LAST_STEPS = 500  # whose training loss a table shows
DB = 10 / math.log(10)  # LOSS_LOG_MSE in dB


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


def by_set(evaluation, figure):
    return {one["set"]: one[figure] for one in evaluation["sets"]}


class Row:
    """A variant's figures, by seed; `figures`: "plain", or "calibrated" for gates of M passes."""

    def __init__(self, ablation, name, figures="plain"):
        self.label = name if figures == "plain" else f"{name}, M passes"
        seeds = range(1, ablation.options.seeds + 1)
        found = {seed: load(ablation.folder(name, seed) / f"{figures}.json") for seed in seeds}
        self.found = {seed: one for seed, one in found.items() if one}
        self.sets = {seed: by_set(one, "psnr_rgb") for seed, one in self.found.items()}
        self.means = {seed: statistics.mean(sets.values()) for seed, sets in self.sets.items()}
        self.logs = {seed: log_of(ablation.folder(name, seed)) for seed in self.found}
        self.network = load(ablation.folder(name, 1) / "network.json")
        self.time = load(ablation.folder(name, 1) / "time.json") if figures == "plain" else None

    def mean(self, weather):
        return statistics.mean(sets[weather] for sets in self.sets.values())

    def less(self, other):
        """By how much it is better than `other`, seed by seed."""
        seeds = self.means.keys() & other.means.keys()
        return [self.means[seed] - other.means[seed] for seed in seeds]

    def training(self, first, last):
        """dB on the crops of the steps after `first` up to `last`; the same crops for all variants."""
        losses = [log[step] for log in self.logs.values() for step in log if first < step <= last]
        return -DB * statistics.mean(losses)

    def routing(self):
        """By seed, then by layer."""
        return [one["overall"][0].get("routing", []) for one in self.found.values()]


def log_of(folder):
    """{step: training loss}; of a step done twice, the last."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss/all"] for record in records if "loss/all" in record}


def rows_of(ablation, names):
    """Of what is finished."""
    rows = [Row(ablation, name, figures) for name in names for figures in ("plain", "calibrated")]
    return [row for row in rows if row.found]


def spread_of(rows):
    """What two seeds of a variant differ by: root mean square over the variants."""
    variances = [statistics.variance(row.means.values()) for row in rows if len(row.means) > 1]
    return math.sqrt(2 * statistics.mean(variances)) if variances else math.nan


# --- tables ---


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def half_range(values):
    return (max(values) - min(values)) / 2


def difference(row, base, spread):
    apart = row.less(base)
    if row is base or not apart:
        return ""
    mean = statistics.mean(apart)
    return f"{mean:+.2f}".replace("-", "−") + (" tie" if abs(mean) < spread else "")


def quality(row, base, spread):
    means = list(row.means.values())
    cells = [row.label, *(f"{row.mean(weather):.2f}" for weather in WEATHERS)]
    cells.append(f"{statistics.mean(means):.2f} ± {half_range(means):.2f}")
    cells.append(difference(row, base, spread))
    last = max(max(log) for log in row.logs.values())
    cells.append(f"{row.training(last - LAST_STEPS, last):.2f}")
    cells.append(f"{row.network['parameters'] / 1e6:.2f}")
    cells.append(f"{row.network['macs_per_tile'] / 1e9:.2f}")
    cells.append(f"{row.time['min']:.1f}" if row.time else "")
    return cells


def quality_table(rows, base, spread):
    first = by_set(next(iter(base.found.values())), "input_psnr_rgb")
    inputs = ["pictures as they are", *(f"{first[weather]:.2f}" for weather in WEATHERS)]
    inputs += [f"{statistics.mean(first.values()):.2f}", "", "", "", "", ""]
    header = ["variant", *WEATHERS, "mean", f"over {BASE}", "training"]
    header += ["M parameters", "GMAC", "ms"]
    return table(header, [inputs, *(quality(row, base, spread) for row in rows)])


def routing(row):
    """Means over seeds. Load: of the idlest and the busiest expert; 1 is an even share."""
    cells = [row.label]
    for layers in zip(*row.routing()):
        experts = len(layers[0]["load"])
        least = experts * statistics.mean(min(one["load"]) for one in layers)
        most = experts * statistics.mean(max(one["load"]) for one in layers)
        entropy = statistics.mean(one["entropy_ratio"] for one in layers)
        dead = statistics.mean(one["dead_experts"] for one in layers)
        cells += [f"{least:.2f} to {most:.2f}", f"{entropy:.3f}", f"{dead:g} of {experts}"]
    return cells


def routing_table(rows):
    header = ["variant", *(f"{figure}, block {layer}" for layer in (1, 2)
                           for figure in ("load", "entropy", "dead"))]
    return table(header, [routing(row) for row in rows if all(row.routing())])


# --- curve ---

PANEL = (560, 330)
MARGIN = (50, 34, 200, 30)  # left, top, right, bottom
INKS = ("#1f66b8", "#eb7814", "#209150", "#c8283c", "#8250b4", "#1496aa")
TEXT, FRAME = "#282828", "#aaafb9"
REACH = 3  # records to either side that a point is the mean of


def gain(row, base):
    """[(step, dB)]: training loss less the base's on the same crops, over seeds, smoothed."""
    seeds = [seed for seed in row.logs if seed in base.logs]
    steps = sorted(set.intersection(*(set(run.logs[seed]) for run in (row, base) for seed in seeds)))
    apart = [statistics.mean(base.logs[seed][step] - row.logs[seed][step] for seed in seeds)
             for step in steps]
    near = [apart[max(0, i - REACH):i + REACH + 1] for i in range(len(apart))]
    return [(step, DB * statistics.mean(values)) for step, values in zip(steps, near)]


def draw_panel(draw, corner, title, curves):
    """One table's variants; the line at 0 is the base."""
    left, top, right, bottom = MARGIN
    x0, y0 = corner[0] + left, corner[1] + top
    x1, y1 = corner[0] + PANEL[0] - right, corner[1] + PANEL[1] - bottom
    reach = max([0.1, *(abs(gained) for points in curves.values() for _, gained in points[2:])])
    last = max((points[-1][0] for points in curves.values()), default=1)

    def at(step, gained):
        share = max(-1, min(1, gained / reach))
        return x0 + (x1 - x0) * step / last, (y0 + y1) / 2 - (y1 - y0) / 2 * share

    font = ImageFont.load_default(15)
    draw.rectangle((x0, y0, x1, y1), outline=FRAME)
    draw.line((at(0, 0), at(last, 0)), fill=FRAME)
    draw.text((x0, corner[1] + 10), title, fill=TEXT, font=font)
    for gained in (-reach, 0, reach):
        height = at(0, gained)[1]
        draw.text((x0 - 6, height), f"{gained:+.1f}", fill=TEXT, font=font, anchor="rm")
    draw.text((x1, y1 + 6), f"step {last}", fill=TEXT, font=font, anchor="ra")
    for i, ((label, points), ink) in enumerate(zip(curves.items(), INKS)):
        draw.line([at(*point) for point in points], fill=ink, width=2, joint="curve")
        draw.text((x1 + 10, y0 + 20 * i), label, fill=ink, font=font)


def draw_curves(ablation, rows, path):
    """Each table's variants against the base: dB on the crops of training, the same for all."""
    by_name = {row.label: row for row in rows}
    size = (2 * PANEL[0], math.ceil(len(ablation.tables) / 2) * PANEL[1])
    picture = Image.new("RGB", size, "white")
    for i, (title, variants) in enumerate(ablation.tables.items()):
        curves = {name: gain(by_name[name], by_name[BASE]) for name in variants if name in by_name}
        corner = (i % 2 * PANEL[0], i // 2 * PANEL[1])
        draw_panel(ImageDraw.Draw(picture), corner, f"{title}: dB over {BASE}", curves)
    picture.quantize(64).save(path, optimize=True)


def report(ablation):
    rows = rows_of(ablation, ablation.variants)
    base = next((row for row in rows if row.label == BASE), None)
    if base is None:
        print(f"no table without '{BASE}'")
        return
    spread = spread_of([row for row in rows if "," not in row.label])
    for title, variants in ablation.tables.items():
        print(f"### {title}\n")
        its = [row for row in rows if row.label.split(",")[0] in variants]
        print(quality_table([base, *its], base, spread))
    print(f"Two seeds of a variant differ by {spread:.2f} dB (root mean square).\n")
    print(f"### What each expert does\n\n{routing_table(rows)}")
    draw_curves(ablation, rows, ablation.out / "curve.png")
