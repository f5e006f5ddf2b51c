"""Our networks against their baselines on this machine, in turns in one run: scripts/bench --compare.

    PYTHON tests/baseline/compare.py [--lines 1,2,3] [--rounds N] [--runs N] [--json]

PYTHON has torch 2.11.0 and numpy and, for the third table, openvino: `scripts/setup --print-baseline`.
`deweather-train bench` writes a network's random weights, its tile and what it makes of it; the baselines
take these weights and must make the same of the tile. Then each is timed in turns:

  1  the network as its authors compute it, PyTorch eager (released.py): f32, and bf16 autocast
  2  128 experts against 16, 8 kept against 4: ours alone; twice as many kept may add what the experts'
     stage takes of the whole (deweather-train bench --stages)
  3  the dense network in OpenVINO, latency hint
  7  on a GPU: PyTorch eager, channels-last, bf16 autocast, 32 tiles at a time

Ratios are medians over rounds of the ratio of medians; each stands beside the bound that it must reach and
the figure aimed at. The exit status is 1 where a bound is missed. Leave the machine alone meanwhile.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import torch
from released import ReleasedNetwork, by_expert, paper_config
from safetensors_file import read_safetensors

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/bin/deweather-train"
SIDE = 256
# Of ||theirs - ours|| / ||ours - its mean||: a network of random weights tells little from pixel to pixel.
TOLERANCE = {"f32": 1e-4, "bf16": 0.03}


# --- who computes ---

class Ours:
    """`deweather-train bench`, a process a round."""

    def __init__(self, kind, experts, kept, precision, batch=1, device="cpu"):
        network = ["--kind", kind]
        if kind != "dense":
            network += ["--experts", str(experts), "--kept", str(kept)]
        self.command = [PROGRAM, "bench", *network, "--size", str(SIDE), "--batch", str(batch),
                        "--precision", precision, "--device", device, "--json"]

    def bench(self, runs, *options):
        done = subprocess.run([*self.command, "--runs", str(runs), *options], check=True,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def times(self, runs):
        return self.bench(runs)["run_ms"]

    def close(self):
        pass


class Baseline:
    """This script as a worker: it has computed what the file asks for, and waits for orders."""

    def __init__(self, what, precision, file, kind, experts, kept, device="cpu"):
        command = [sys.executable, "-B", __file__, "--worker", what, "--precision", precision,
                   "--file", file, "--network", kind, str(experts), str(kept), "--device", device]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.what, self.precision = what, precision
        self.distance = self.reply()

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.what} {self.precision}: the baseline has failed")
        return json.loads(line)

    def times(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return self.reply()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Pictures(torch.nn.Module):
    """Of what a network returns only the pictures."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, tiles):
        return self.network(tiles)[0]


def eager(network, precision, _):
    autocast = precision == "bf16"

    def run(tiles):
        with torch.inference_mode(), torch.autocast(tiles.device.type, torch.bfloat16, enabled=autocast):
            return network(tiles).cpu()  # which waits for a GPU
    return run


def openvino(network, precision, tiles):
    import openvino
    warnings.simplefilter("ignore")  # of tracing: the shapes are fixed here
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": processors()}
    with torch.inference_mode():
        model = openvino.convert_model(network, example_input=tiles)
    model.reshape(list(tiles.shape))
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda given: torch.from_numpy(request.infer([given.numpy()])[0])


def processors():
    return len(os.sched_getaffinity(0))


def work(args):
    """Computes the network of --file; then its times for each number of runs on stdin."""
    kind, experts, kept = args.network[0], *map(int, args.network[1:])
    torch.set_num_threads(processors())
    tensors = read_safetensors(args.file)
    tiles, ours = tensors.pop("tiles"), tensors.pop("restored")
    layout = torch.channels_last if args.device != "cpu" else torch.contiguous_format
    network = ReleasedNetwork(paper_config(kind, experts, kept), layout).eval()
    network.load_state_dict(by_expert(tensors))
    network, tiles = network.to(args.device, memory_format=layout), tiles.to(args.device)
    run = {"eager": eager, "openvino": openvino}[args.worker](Pictures(network), args.precision, tiles)
    theirs = run(tiles)
    print(json.dumps(((theirs - ours).norm() / (ours - ours.mean()).norm()).item()), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line) + 1):  # the first is not counted
            begin = time.perf_counter()
            run(tiles)
            times.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps(times[1:]), flush=True)


# --- in turns ---

def take_turns(racers, rounds, runs):
    """Milliseconds a run by name: a median for each round."""
    medians = {name: [] for name in racers}
    for _ in range(rounds):
        for name, racer in racers.items():
            medians[name].append(statistics.median(racer.times(runs)))
    for racer in racers.values():
        racer.close()
    return medians


def ratio(medians, over, under):
    return statistics.median(a / b for a, b in zip(medians[over], medians[under]))


def race(args, network, baselines):
    """Ours in f32 and bf16 against `baselines` on the network (kind, experts, kept)."""
    racers = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("f32", "bf16"):
            ours = racers["ours", precision] = Ours(*network, precision)
            file = f"{folder}/{precision}.safetensors"
            ours.bench(1, "--save", file)
            for what in baselines:
                racer = racers[what, precision] = Baseline(what, precision, file, *network)
                if not racer.distance < TOLERANCE[precision]:
                    raise SystemExit(f"{what} {precision} of {network} computes something else than ours: "
                                     f"relative distance {racer.distance:.1e}")
            pathlib.Path(file).unlink()
    distances = {f"{what} {precision}": racer.distance
                 for (what, precision), racer in racers.items() if what != "ours"}
    return take_turns(racers, args.rounds, args.runs), distances


# --- the tables ---

class Report:
    def __init__(self, as_json):
        self.as_json, self.lines, self.networks = as_json, [], []

    def say(self, text):
        if not self.as_json:
            print(text, flush=True)

    def network(self, name, medians, distances):
        times = {" ".join(map(str, racer)): statistics.median(values) for racer, values in medians.items()}
        self.networks.append({"network": name, "ms": times, "distance": distances})
        self.say(f"\n{name}: ms a run (relative distance from ours)")
        for racer, milliseconds in times.items():
            distance = f"({distances[racer]:.1e})" if racer in distances else ""
            self.say(f"  {racer:<24} {milliseconds:8.1f}  {distance}")

    def line(self, number, what, value, bound, aim=None, at_least=True):
        reached = value >= bound if at_least else value <= bound
        self.lines.append({"line": number, "what": what, "ratio": value, "bound": bound, "aim": aim,
                           "at_least": at_least, "reached": reached})
        sign = ">=" if at_least else "<="
        aimed = f" (aim {aim})" if aim else ""
        verdict = "ok  " if reached else "MISS"
        self.say(f"  {verdict} {number}  {what:<44} {value:6.3f}  {sign} {bound:.3f}{aimed}")


def against_eager(args, report):
    bounds = {16: ((5, 6), (1.8, 2.3), 2), 128: ((10, 13), (3.5, 4.5), 4)}
    for experts, ((fast, fast_aim), (bf16, bf16_aim), f32) in bounds.items():
        medians, distances = race(args, ("fme", experts, 4), ["eager"])
        name = f"fme E={experts} K=4"
        report.network(name, medians, distances)
        report.line(1, f"{name}: eager f32 / our bf16",
                    ratio(medians, ("eager", "f32"), ("ours", "bf16")), fast, fast_aim)
        report.line(1, f"{name}: eager bf16 / our bf16",
                    ratio(medians, ("eager", "bf16"), ("ours", "bf16")), bf16, bf16_aim)
        report.line(1, f"{name}: eager f32 / our f32",
                    ratio(medians, ("eager", "f32"), ("ours", "f32")), f32)


def by_size(args, report):
    for precision in ("f32", "bf16"):
        for batch, bound in ((1, 1.15), (8, 1.05)):
            sizes = {"E=16": (16, 4), "E=128": (128, 4), "K=8": (16, 8)}
            racers = {name: Ours("fme", *size, precision, batch) for name, size in sizes.items()}
            stages = {stage["stage"]: stage["ms"]
                      for stage in racers["E=16"].bench(args.runs, "--stages")["stages"]}
            share = stages["experts"] / sum(stages.values())
            medians = take_turns(racers, args.rounds, args.runs)
            name = f"fme, batch {batch}, {precision}"
            report.network(name, {(key,): values for key, values in medians.items()}, {})
            report.line(2, f"{name}: E=128 / E=16", ratio(medians, "E=128", "E=16"), bound, at_least=False)
            report.line(2, f"{name}: K=8 / K=4, experts' share", ratio(medians, "K=8", "E=16"),
                        1 + share, at_least=False)


def against_openvino(args, report):
    medians, distances = race(args, ("dense", 0, 0), ["eager", "openvino"])
    report.network("dense", medians, distances)
    for precision, bound, aim in (("bf16", 0.95, 1.1), ("f32", 1.0, None)):
        report.line(3, f"dense: OpenVINO {precision} / our {precision}",
                    ratio(medians, ("openvino", precision), ("ours", precision)), bound, aim)


def on_gpu(args, report):
    batch, precision = 32, "bf16"
    racers = {f"E={experts}": Ours("fme", experts, 4, precision, batch, "cuda") for experts in (16, 128)}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/{precision}.safetensors"
        racers["E=16"].bench(1, "--save", file)
        racers["eager"] = Baseline("eager", precision, file, "fme", 16, 4, "cuda")
    if not racers["eager"].distance < TOLERANCE[precision]:
        raise SystemExit(f"eager computes something else: relative distance {racers['eager'].distance:.1e}")
    share = racers["E=16"].bench(args.runs, "--stages")["share_of_peak"]
    medians = take_turns(racers, args.rounds, args.runs)
    report.network(f"fme, batch {batch}, {precision}, {torch.cuda.get_device_name()}",
                   {(key,): values for key, values in medians.items()}, {})
    report.line(7, "fme E=16: eager / ours", ratio(medians, "eager", "E=16"), 2)
    report.line(7, "fme E=16: share of the matrix peak", share, 0.25, 0.4)
    report.line(7, "fme: E=128 / E=16", ratio(medians, "E=128", "E=16"), 1.05, at_least=False)


def processor():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "").split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{names[0]}, {processors()} processors, {' '.join(known)}"


def has_openvino():
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", default="1,2,3,7", help="tables to make (default: all that can be)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=5, help="counted, of each in a round")
    parser.add_argument("--json", action="store_true")
    for name in ("--worker", "--precision", "--file", "--device"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--network", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return 0
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    report = Report(args.json)
    report.say(processor())
    tables = {"1": against_eager, "2": by_size, "3": against_openvino, "7": on_gpu}
    wanting = {"3": None if has_openvino() else "this Python has no openvino (scripts/setup --with-baseline)",
               "7": None if torch.cuda.is_available() else "no GPU"}
    for number in args.lines.split(","):
        if wanting.get(number):
            print(f"no table {number}: {wanting[number]}", file=sys.stderr)
        else:
            tables[number](args, report)
    if args.json:
        print(json.dumps({"processor": processor(), "lines": report.lines, "networks": report.networks}))
    return 0 if all(line["reached"] for line in report.lines) else 1


if __name__ == "__main__":
    sys.exit(main())
