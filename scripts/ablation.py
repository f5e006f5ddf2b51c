"""ablation.py ROOT [OPTION...]: trains and judges variants of a network, see scripts/ablation."""

import argparse
import concurrent.futures
import configparser
import pathlib
import re
import subprocess
import sys

from PIL import Image, ImageChops, ImageStat

import ablation_report
from ablation_report import BASE, WEATHERS

SIDE_PX = 256  # of the held-out photographs
LEAST_CHANGE = 2.55  # of 255, root mean square: weather that is seen, 40 dB


class Ablation:
    """Where things are, and what was asked for."""

    def __init__(self, root, options):
        configs = root / "training/configs/ablation"
        self.base = (configs / "base.textproto").read_text()
        ini = configparser.ConfigParser(delimiters="=", comment_prefixes=";")
        ini.read(configs / "variants.ini")
        self.tables = {title: dict(ini[title]) for title in ini.sections()}
        self.variants = {BASE: ""}
        for changes in self.tables.values():
            self.variants |= changes
        program = options.program or root / "build/release/bin/deweather-train"
        self.program = pathlib.Path(program).resolve()
        default = f"out/ablation-{options.steps}-steps" if options.steps else "out/ablation"
        self.out = pathlib.Path(options.out or root / default).resolve()
        self.clean = pathlib.Path(options.data or root / "../shared/data").resolve() / "train/clean"
        self.options = options
        for name in options.only:
            if name not in self.variants:
                sys.exit(f"ablation: no variant '{name}'; there are {', '.join(self.variants)}")

    def chosen(self):
        only = self.options.only
        return [name for name in self.variants if not only or name in only]

    def runs(self):
        """All variants from one seed, then from the next: half the time gives half of every table."""
        seeds = range(1, self.options.seeds + 1)
        return [(name, seed) for seed in seeds for name in self.chosen()]

    def folder(self, name, seed):
        return self.out / f"{name}-{seed}"

    def model(self, name, seed):
        return self.folder(name, seed) / f"{name}.safetensors"

    def call(self, *arguments, **more):
        """Runs deweather-train among the results; its stdout."""
        command = list(map(str, [self.program, *arguments]))
        reply = subprocess.run(command, cwd=self.out, stdout=subprocess.PIPE, text=True, **more)
        if reply.returncode != 0:
            raise RuntimeError(f"status {reply.returncode} of {' '.join(command)}")
        return reply.stdout


# --- photographs ---


def weather_on(ablation, clean, picture, weather, seed):
    """From another seed where the first leaves the photograph all but clean: it would count 100 dB."""
    while True:
        ablation.call("synthesize", clean, "-o", picture, "--weather", weather, "--seed", str(seed))
        change = ImageStat.Stat(ImageChops.difference(Image.open(clean), Image.open(picture)))
        if max(change.rms) >= LEAST_CHANGE:
            return
        seed += 1000


def hold_out(ablation, photo, folder, seed):
    """The middle of a photograph, in each weather."""
    middle = Image.open(photo).convert("RGB")
    left, top = ((side - SIDE_PX) // 2 for side in middle.size)
    for weather in WEATHERS:
        clean, picture = (folder / weather / half / f"{photo.stem}.png" for half in ("gt", "input"))
        for path in (clean, picture):
            path.parent.mkdir(parents=True, exist_ok=True)
        middle.crop((left, top, left + SIDE_PX, top + SIDE_PX)).save(clean)
        weather_on(ablation, clean, picture, weather, seed)


def make_photos(ablation):
    """photos/train: links to clean photographs; photos/WEATHER: pairs of one in 37, held out."""
    folder = ablation.out / "photos"
    if folder.exists():
        return
    if not ablation.clean.is_dir():
        sys.exit(f"ablation: no folder '{ablation.clean}' of clean photographs")
    photos = sorted(ablation.clean.iterdir())
    begun = ablation.out / "photos.begun"
    (begun / "train").mkdir(parents=True, exist_ok=True)
    for i, photo in enumerate(photos, 1):
        if i % 37 == 5:
            hold_out(ablation, photo, begun, 1000 + i // 37)
        elif not (begun / "train" / photo.name).is_symlink():
            (begun / "train" / photo.name).symlink_to(photo)
    begun.rename(folder)


# --- runs ---


def set_field(lines, path, value):
    """Writes `path: value` ("model.kept: 2") over the field's line, or at the end of its block."""
    block, _, field = path.rpartition(".")
    begin, end, indent = 0, len(lines), ""
    if block:
        begin = lines.index(f"{block} {{")
        end, indent = lines.index("}", begin), "  "
    line = f"{indent}{field}: {value}"
    for i in range(begin, end):
        if lines[i].startswith(f"{indent}{field}:"):
            lines[i] = line
            return
    lines.insert(end, line)


def config_of(ablation, name, seed):
    """The base with the variant's fields, in text format."""
    changes = [text.partition(": ") for text in ablation.variants[name].split("; ") if text]
    fields = {path: value.replace("SEED", str(seed)) for path, _, value in changes}
    fields |= {"name": f'"{name}"', "seed": seed, "output_dir": f'"{name}-{seed}"'}
    if ablation.options.steps:
        fields["steps"] = ablation.options.steps
    lines = ablation.base.splitlines()
    for path, value in fields.items():
        set_field(lines, path, value)
    return "\n".join(lines) + "\n"


def teacher_of(ablation, name):
    """The variant that it is distilled from, if it is."""
    found = re.search(r'teacher: "([^/]+)-SEED/', ablation.variants[name])
    return found and found[1]


def is_finished(ablation, name, seed):
    """Its config is kept with it: after a change of the variant nothing of it stands."""
    finished = ablation.folder(name, seed) / "finished"
    if not finished.exists():
        return False
    if finished.read_text() == config_of(ablation, name, seed):
        return True
    raise RuntimeError(f"'{finished.parent}' is of another configuration: remove it, or name another --out")


def train(ablation, name, seed):
    if is_finished(ablation, name, seed):
        return
    teacher = teacher_of(ablation, name)
    if teacher and not is_finished(ablation, teacher, seed):
        raise RuntimeError(f"its teacher {teacher}-{seed} is not finished")
    folder = ablation.folder(name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.textproto"
    config.write_text(config_of(ablation, name, seed))
    with open(folder / "errors.txt", "w") as errors:
        ablation.call("run", "--config", config, stderr=errors)
    (folder / "finished").write_text(config_of(ablation, name, seed))


def keep(ablation, name, seed, figures, *arguments):
    """What deweather-train prints, as FIGURES.json in the run's folder, unless it is there."""
    path = ablation.folder(name, seed) / f"{figures}.json"
    if not path.exists():
        path.write_text(ablation.call(*arguments, "--json", stderr=subprocess.DEVNULL))


def evaluate(ablation, name, seed):
    model = ("--model", ablation.model(name, seed))
    sets = [f"--pairs={weather}=photos/{weather}" for weather in WEATHERS]
    keep(ablation, name, seed, "network", "inspect", model[1], "--size", str(SIDE_PX))
    keep(ablation, name, seed, "plain", "evaluate", *model, *sets)
    if "calibration:" in ablation.variants[name]:
        keep(ablation, name, seed, "calibrated", "evaluate", *model, *sets, "--calibrated")


def time_tiles(ablation, name, seed):
    model = ("--model", ablation.model(name, seed))
    keep(ablation, name, seed, "time", "bench", *model, "--size", str(SIDE_PX), "--threads", "1")


def in_turn(ablation, do, runs, jobs):
    """`do` for all runs, `jobs` at a time; those that it was done for. The others' errors are told."""
    done = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(do, ablation, name, seed): (name, seed) for name, seed in runs}
        for future in concurrent.futures.as_completed(futures):
            name, seed = futures[future]
            error = future.exception()
            if error is None:
                done.append((name, seed))
            told = f"ablation: {do.__name__} {name}-{seed}: {error or 'done'}"
            print(told, file=sys.stderr, flush=True)
    return [run for run in runs if run in done]


def train_all(ablation, runs, jobs):
    """Teachers first. Those that are finished."""
    learn = [run for run in runs if teacher_of(ablation, run[0])]
    alone = [run for run in runs if run not in learn]
    done = in_turn(ablation, train, alone, jobs) + in_turn(ablation, train, learn, jobs)
    return [run for run in runs if run in done]


def count(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--data")
    parser.add_argument("--out")
    parser.add_argument("--jobs", type=count, default=2)
    parser.add_argument("--seeds", type=count, default=2)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--steps", type=count)
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--program")
    return parser.parse_args()


def main():
    options = parse_arguments()
    ablation = Ablation(options.root, options)
    runs = ablation.runs()
    judged = runs
    if not options.table:
        ablation.out.mkdir(parents=True, exist_ok=True)
        make_photos(ablation)
        trained = train_all(ablation, runs, options.jobs)
        judged = in_turn(ablation, evaluate, trained, options.jobs)
        if not options.no_times:
            in_turn(ablation, time_tiles, [(name, seed) for name, seed in judged if seed == 1], 1)
    ablation_report.report(ablation)
    return 0 if judged == runs else 1


if __name__ == "__main__":
    sys.exit(main())
