"""Restoring while a job trains on the same processors.

Rounds without and with a running job take turns, so that what else the machine does falls on both. The job
trains a network of the shipped size as fast as it is let.

Bounds: p99 of Restore beside training is at most 2.5 times that on the idle server; no request fails; the job
goes on (at least one step in each of its rounds).
"""

import pathlib
import statistics
import tempfile
import time

from measure import Report, arguments, bench, errors_of, real_server, settle

from google.protobuf import text_format
from harness import smooth
from PIL import Image

TRAINING = "deweather.v1.TrainingService"
SERVER = """
drain {{ delay {{}} }}
training {{ stop_grace {{ seconds: 30 }} {training} }}
datasets {{ registered {{ name: "scenes" dir: "{folder}" }} }}
"""
JOB = """
name: "beside"
model { embed_dim: 192 heads: 4 head_dim: 48 channels: 16 tail_scale: 2 residual: true }
data { clean { dir: "scenes" weather: "rain" } crop_px: 128 }
batch: 8
steps: 1000000
precision: PRECISION_BF16
checkpoint_every_steps: 1000000
log_every_steps: 1
"""


class Job:
    def __init__(self, client):
        self._client = client
        request = client.message("deweather.v1.SubmitJobRequest")()
        text_format.Parse(JOB, request.config)
        self.id = client.method(TRAINING, "SubmitJob")(request, timeout=30).id
        if not settle(lambda: self.step() >= 1, 120):
            raise RuntimeError(f"the job does not train: {self.get()}")

    def get(self):
        return self._client.method(TRAINING, "GetJob")(
            self._client.message("deweather.v1.GetJobRequest")(id=self.id), timeout=30)

    def step(self):
        return self.get().progress.step

    def end(self):
        self._client.method(TRAINING, "CancelJob")(
            self._client.message("deweather.v1.CancelJobRequest")(id=self.id), timeout=30)
        if not settle(lambda: self.get().HasField("end_time"), 60):
            raise RuntimeError("the job does not end")


def main():
    flags = arguments(__doc__, rounds=5, seconds=20, model="deweather-small", mix="256x256", concurrency=1,
                      rate=0.0, training="")
    report = Report("training_load")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="training-load-"))
    scenes, data = folder / "scenes", folder / "data"
    for made in (scenes, data):
        made.mkdir()
    for i in range(4):
        Image.fromarray(smooth(400 + i, 300)).save(scenes / f"{i}.png")
    load = ["--mix", flags.mix, "--duration", f"{flags.seconds}s", "--warmup", "2s"]
    load += ["--rate", flags.rate] if flags.rate > 0 else ["--concurrency", flags.concurrency]
    told, steps = {"idle": [], "training": []}, []
    config = SERVER.format(folder=scenes, training=flags.training)
    with real_server("--model", flags.model, "--data-dir", str(data), config=config) as server:
        with server.client() as client:
            bench(server, *load)
            for _ in range(flags.rounds):
                told["idle"].append(bench(server, *load))
                job = Job(client)
                before, start = job.step(), time.monotonic()
                told["training"].append(bench(server, *load))
                steps.append((job.step() - before) / (time.monotonic() - start))
                job.end()
        exit_status = server.stop(timeout=60)

    def median(kind, figure):
        return statistics.median(t["latency_ms"][figure] for t in told[kind])

    figures = {f"{kind}_{figure}_ms": median(kind, figure) for kind in told for figure in ("p50", "p99")}
    report.figures(model=flags.model, mix=flags.mix, rounds=flags.rounds, seconds=flags.seconds, **figures,
                   replies={kind: sum(t["ok"] for t in told[kind]) for kind in told},
                   steps_per_second=statistics.median(steps),
                   p99_ms={kind: [t["latency_ms"]["p99"] for t in told[kind]] for kind in told},
                   errors=[errors_of(t) for kind in told for t in told[kind] if t["errors"]])
    report.at_most("p99 beside training over p99 without", figures["training_p99_ms"] /
                   figures["idle_p99_ms"], 2.5)
    report.at_most("requests that failed", sum(t["errors"] for kind in told for t in told[kind]), 0)
    report.at_least("slowest round of training, steps a second", min(steps), 1e-9)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    main()
