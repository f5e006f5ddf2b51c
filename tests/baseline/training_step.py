"""Our training step against PyTorch's (Python) at the same size, in turns in one run: scripts/bench --training.

    PYTHON tests/baseline/training_step.py [--config FILE] [--released] [--rounds N] [--steps N] [--skip-check]

PYTHON has torch 2.11.0 and numpy: `scripts/setup --print-baseline`. PyTorch computes the experts that are
kept, or with --released every expert on every token, as the authors do (released.py); then
--config tests/baseline/paper_fme64.textproto is the paper's size. First both do one step from the same
weights on the same picture, and must agree on every gradient, on what AdamW makes of it and on the
average. Then, in turns, `deweather-train bench --config FILE`, PyTorch as a user gets it, and PyTorch with
jemalloc preloaded and set as deweather-train sets it. Prints medians and ratios; the exit status is 1 if
plain PyTorch is faster, or with --released if it does not take 1.5 times as long. About three minutes;
leave the machine alone meanwhile.
"""

import argparse
import json
import math
import os
import pathlib
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import torch
from network import Config, Network
from released import ReleasedNetwork, by_expert
from safetensors_file import read_safetensors
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/bin/deweather-train"
RAIN = ROOT / "training/configs/deweather-rain.textproto"
WEIGHTS = ROOT / "model/weights/deweather-rain.safetensors"
MALLOC_CONF = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1"  # training/main.cc
BALANCE_WEIGHT, EMA_DECAY, CLIP_NORM, BETAS = 0.01, 0.999, 1.0, (0.9, 0.999)


# --- PyTorch's step ---

def balance_loss(gates):
    """GShard's E sum_i f_i P_i, mean over layers."""
    def of_layer(logits, kept):
        experts = logits.shape[1]
        share = kept.flatten().bincount(minlength=experts) / kept.numel()
        return experts * (share * logits.softmax(-1).mean(0)).sum()
    return torch.stack([of_layer(*gate) for gate in gates]).mean()


class Trainer:
    """AdamW, clipping and an average of the weights, with PyTorch's fused and foreach operators."""

    def __init__(self, network, bf16, learning_rate):
        self.network, self.bf16, self.steps = network.to(memory_format=network.memory_format), bf16, 0
        self.parameters = list(network.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, betas=BETAS,
                                           weight_decay=0.01, fused=True)

    def step(self, pictures, truth):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            restored, gates = self.network(pictures)
        task = ((restored - truth).square() + 1e-6).sqrt().mean()  # Charbonnier
        loss = task + BALANCE_WEIGHT * balance_loss(gates)
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()
        self.steps += 1
        decay = min(EMA_DECAY, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)


# --- the same numbers? ---

def write_bmp(path, pixels):  # [H,W,3] of 0..255, W a multiple of 4
    height, width = len(pixels), len(pixels[0])
    rows = b"".join(bytes(c for rgb in row for c in reversed(rgb)) for row in reversed(pixels))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + len(rows), 0, 54, 40, width, height,
                                         1, 24, 0, len(rows), 2835, 2835, 0, 0) + rows)


def model_block(config):
    return re.search(r"^model \{.*?^\}", config.read_text(), re.M | re.S).group()


def pytorch_network(args, config):
    return (ReleasedNetwork if args.released else Network)(network_config(config))


def network_config(config):
    given = dict(re.findall(r"(\w+): (\d+)", model_block(config)))
    return Config(**{name: int(given[name]) for name in Config.__annotations__ if name in given})


def our_step(config, folder, side, learning_rate):
    """The state after one step of `deweather-train run` on the pair in `folder`."""
    text = f"""{model_block(config)}
        name: "check" data {{ pairs {{ dir: "{folder}" }} crop_px: {side} augment: false }}
        batch: 1 steps: 1 loss: LOSS_CHARBONNIER precision: PRECISION_F32 ema_decay: {EMA_DECAY}
        optimizer {{ learning_rate: {learning_rate} warmup_steps: 0 }}
        init_from: "{WEIGHTS}" output_dir: "{folder}/out" """
    (folder / "run.textproto").write_text(text)
    subprocess.run([PROGRAM, "run", "--config", folder / "run.textproto"], check=True,
                   stdout=subprocess.DEVNULL)
    for path in sorted((folder / "out").rglob("*.safetensors")):
        tensors = read_safetensors(path)
        if any(name.startswith("first_moment.") for name in tensors):
            return tensors
    raise SystemExit("deweather-train run left no checkpoint")


def distance(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)).item()


def check(args, config=RAIN, side=128, learning_rate=1e-3):
    """One step of both from the same weights on the same pair, in f32."""
    draw = random.Random(1)
    pictures = {name: [[[draw.randrange(256) for _ in range(3)] for _ in range(side)]
                       for _ in range(side)] for name in ("input", "gt")}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind, pixels in pictures.items():
            write_bmp(folder / kind / "noise.bmp", pixels)
        ours = our_step(config, folder, side, learning_rate)
    before = read_safetensors(WEIGHTS)
    named = by_expert if args.released else dict
    ours = {part: named({name.removeprefix(part): value for name, value in ours.items()
                         if name.startswith(part)})
            for part in ("first_moment.", "weights.", "average.")}
    before = named(before)
    network = pytorch_network(args, config)
    network.load_state_dict(before)
    trainer = Trainer(network, False, learning_rate)
    tensors = [torch.tensor(pictures[kind]).permute(2, 0, 1)[None] / 255 for kind in ("input", "gt")]
    trainer.step(*tensors)
    worst = {"gradient": 0.0, "step": 0.0, "average": 0.0}
    for (key, parameter), average in zip(network.named_parameters(), trainer.average):
        gradient = ours["first_moment."][key] / (1 - BETAS[0])  # clipped
        found = {"gradient": distance(gradient, parameter.grad),
                 "step": distance(ours["weights."][key] - before[key],
                                  parameter.detach() - before[key]),
                 "average": distance(ours["average."][key] - before[key], average - before[key])}
        worst = {kind: max(worst[kind], found[kind]) for kind in worst}
    print("same step, f32, largest relative distance over tensors: "
          + ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items()))
    # AdamW's first step is the gradient's sign: entries near zero may differ in it.
    if worst["gradient"] > 1e-3 or max(worst.values()) > 5e-2:
        raise SystemExit("the two do not compute the same")


# --- timing ---

def work(args):
    """Steps for each number read from stdin; answers with their milliseconds."""
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    trainer = Trainer(pytorch_network(args, args.config), args.worker == "bf16", 1e-6)
    pictures = torch.rand(args.batch, 3, args.side, args.side)
    for line in sys.stdin:
        times = []
        for _ in range(int(line) + 2):  # the first two are not counted
            begin = time.perf_counter()
            trainer.step(pictures, pictures)
            times.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps(times[2:]), flush=True)


class PyTorch:
    def __init__(self, args, precision, **environment):
        command = [sys.executable, "-B", __file__, "--worker", precision, "--config", args.config]
        if args.released:
            command.append("--released")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **environment})

    def times(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def our_times(args, precision, steps):
    command = [PROGRAM, "bench", "--train", "--config", args.config, "--precision", precision,
               "--runs", str(steps), "--json"]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if (told["batch"], told["size"]) != (args.batch, args.side):
        raise SystemExit("not the size that PyTorch is given")
    return told["run_ms"]


def jemalloc():
    listed = subprocess.run(["ldconfig", "-p"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(r"libjemalloc\.so\.2 .*=> (\S+)", listed)
    return found.group(1) if found else None


def compare(args, precision):
    """Milliseconds a step, by who took them."""
    workers = {"pytorch": PyTorch(args, precision)}
    if jemalloc():
        workers["pytorch, jemalloc"] = PyTorch(args, precision, LD_PRELOAD=jemalloc(),
                                               MALLOC_CONF=MALLOC_CONF)
    times = {name: [] for name in ["deweather", *workers]}
    for _ in range(args.rounds):
        times["deweather"] += our_times(args, precision, args.steps)
        for name, worker in workers.items():
            times[name] += worker.times(args.steps)
    for worker in workers.values():
        worker.close()
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=pathlib.Path,
                        default=RAIN)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="counted, of each in a round")
    parser.add_argument("--released", action="store_true",
                        help="PyTorch computes every expert on every token, as the authors do")
    parser.add_argument("--skip-check", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    text = args.config.read_text()
    args.batch, args.side = (int(re.search(rf"^\s*{field}: (\d+)", text, re.M).group(1))
                             for field in ("batch", "crop_px"))
    if args.worker:
        work(args)
        return 0
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if not args.skip_check:
        check(args)
    slower = False
    print(f"{'precision':<10} {'':<18} {'ms/step':>8} {'least':>8} {'over ours':>10}")
    for precision in ("f32", "bf16"):
        times = compare(args, precision)
        ours = statistics.median(times["deweather"])
        for name, taken in times.items():
            median = statistics.median(taken)
            print(f"{precision:<10} {name:<18} {median:8.1f} {min(taken):8.1f} {median / ours:10.3f}",
                  flush=True)
        slower = slower or statistics.median(times["pytorch"]) < ours * (1.5 if args.released else 1)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
