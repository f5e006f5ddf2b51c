"""What serving takes from the model: 8 callers with photos of 1 megapixel against the bare model loop.

The server's rate is that of its batches between two scrapes while all callers wait; the loop is
`deweather-train bench` at the size of batch that the server reached. They take turns, and medians count.

Bounds: tiles/s is at least 95 % of the loop's; the threads that run the model take at least 95 % of the
server's CPU time.
"""

import json
import pathlib
import statistics
import subprocess
import time

from measure import Report, arguments, finish_bench, program, real_server, start_bench

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS_PER_S = 100  # of /proc/PID/stat, whatever the kernel's clock


def cpu_seconds(server):
    """Of the server's threads, by their name: (those that run the model, all others)."""
    model = others = 0
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        name, rest = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        seconds = sum(map(int, rest.split()[11:13])) / TICKS_PER_S
        if name == "model":
            model += seconds
        else:
            others += seconds
    return model, others


def served(model, precision, seconds):
    """Rates of a saturated server."""
    with real_server("--model", model, "--precision", precision) as server:
        load = start_bench(server, "--mix", "1000x1000", "--format", "jpeg", "--concurrency", 8,
                           "--connections", 0, "--duration", f"{seconds}s", "--warmup", "2s",
                           "--timeout", "300s")
        time.sleep(2)
        before, cpu_before, start = server.metrics(), cpu_seconds(server), time.monotonic()
        time.sleep(seconds - 1)
        after, cpu_after, end = server.metrics(), cpu_seconds(server), time.monotonic()
        told = finish_bench(load)
    tiles, batches = (after[f"deweather_batch_tiles_{what}"] - before[f"deweather_batch_tiles_{what}"]
                      for what in ("sum", "count"))
    model_s, others_s = (b - a for a, b in zip(cpu_before, cpu_after))
    infer = 'deweather_stage_seconds_sum{stage="infer"}'
    return {"tiles_per_second": tiles / (end - start), "tiles_per_batch": tiles / batches,
            "ms_per_tile_in_batches": 1000 * (after[infer] - before[infer]) / tiles,
            "time_in_batches": (after[infer] - before[infer]) / (end - start),
            "model_share_of_cpu": model_s / (model_s + others_s),
            "cpu_seconds_per_second": (model_s + others_s) / (end - start), "errors": told["errors"]}


def bare(model, precision, batch, runs):
    command = [program("deweather-train"), "bench", "--model", model, "--precision", precision,
               "--batch", str(batch), "--runs", str(runs), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return 1000 / json.loads(done.stdout)["ms_per_tile"]


def main():
    flags = arguments(__doc__, seconds=20, rounds=3, precision="auto",
                      model=str(ROOT / "model/weights/deweather-rain.safetensors"))
    report = Report("saturation")
    rows = []
    for _ in range(flags.rounds):
        row = served(flags.model, flags.precision, flags.seconds)
        batch = round(row["tiles_per_batch"])
        row["bare_tiles_per_second"] = bare(flags.model, flags.precision, batch, 20)
        rows.append(row)
    report.figures(model=flags.model, precision=flags.precision, rounds=rows)
    ratios = [row["tiles_per_second"] / row["bare_tiles_per_second"] for row in rows]
    report.at_least("tiles/s over the bare loop's, median", statistics.median(ratios), 0.95)
    report.at_least("share of CPU time of the threads that run the model, median",
                    statistics.median(row["model_share_of_cpu"] for row in rows), 0.95)
    report.at_most("failed requests", sum(row["errors"] for row in rows), 0)
    report.finish()


if __name__ == "__main__":
    main()
