"""Soak: mostly good traffic, and for every sixteen good requests one each that expires after 1 ms, is
cancelled, comes from a client that is killed, or is garbage.

Rates follow from the peak, which is measured first. Every good reply is compared with the first to the
same picture. --leak plants a leak of so many bytes a batch: then the soak must fail.

Bounds: no crash; every good request has its right reply; every other ends as it should; after the
warm-up (a fifth of the time) memory grows by at most 20 MB, from the median of the fifth behind it to the
median of the last tenth; as many files are open as at the start, +-5; nothing is left in the server.
"""

import collections
import pathlib
import random
import subprocess
import tempfile
import threading
import time

from measure import (Report, Sampler, arguments, bench, bench_command, encode, errors_of,
                     faulty_server, finish_bench, is_idle, open_files, real_server, settle,
                     start_bench)

import grpc
from harness import noise

MB = 1e6
MIX = "256x256=8,640x480=1"
GARBAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
KILLED_AT_ONCE = 4  # calls of one client that is killed


class Cancels(threading.Thread):
    """Calls that are cancelled after a random time, at a rate."""

    def __init__(self, server, rate, seconds, longest_s, seed):
        super().__init__()
        self.server, self.rate, self.seconds, self.longest_s = server, rate, seconds, longest_s
        self.rng = random.Random(seed)
        self.outcomes = collections.Counter()

    def run(self):
        picture = encode(noise(400, 300), "JPEG")
        end = time.monotonic() + self.seconds
        with self.server.client() as client:
            client.restore(picture)
            while time.monotonic() < end:
                call = client.start_restore(picture)
                time.sleep(min(self.rng.uniform(0, self.longest_s), 1 / self.rate))
                call.cancel()
                self.outcomes[self.outcome(call)] += 1
                time.sleep(self.rng.expovariate(self.rate))

    @staticmethod
    def outcome(call):
        try:
            call.result()
            return "OK"
        except grpc.FutureCancelledError:
            return "CANCELLED"
        except grpc.RpcError as error:
            return error.code().name


class Kills(threading.Thread):
    """Clients that are killed while their calls are under way, at a rate of calls."""

    def __init__(self, server, rate, seconds, seed):
        super().__init__()
        self.server, self.rate, self.seconds = server, rate, seconds
        self.rng = random.Random(seed)
        self.killed = 0

    def run(self):
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            command = bench_command(self.server, "--mix", "640x480", "--concurrency", KILLED_AT_ONCE,
                                    "--duration", "1h", "--warmup", "0s")
            with subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL) as client:
                time.sleep(0.2 + self.rng.uniform(0, 0.2))  # it starts, connects and sends
                client.kill()
            self.killed += KILLED_AT_ONCE
            time.sleep(self.rng.expovariate(self.rate / KILLED_AT_ONCE))


def traffic(server, flags, rate, garbage):
    """All of it, at `rate` requests per second. Figures by the kind of traffic."""
    seconds, small = flags.seconds, rate / 20
    common = ("--duration", f"{seconds}s", "--warmup", "0s", "--seed", flags.seed)
    benches = {
        "good_png": ("--mix", MIX, "--verify", "--rate", rate * 0.4, "--connections", 4, *common),
        "good_jpeg": ("--mix", MIX, "--verify", "--rate", rate * 0.4, "--format", "jpeg",
                      "--connections", 4, *common),
        "expiring": ("--mix", MIX, "--rate", small, "--timeout", "1ms", *common),
        "garbage": (garbage, "--rate", small, *common),
    }
    cancels = Cancels(server, small, seconds, 0.02, flags.seed)
    kills = Kills(server, small, seconds, flags.seed)
    processes = {kind: start_bench(server, *args) for kind, args in benches.items()}
    for thread in (cancels, kills):
        thread.start()
    told = {kind: finish_bench(process) for kind, process in processes.items()}
    for thread in (cancels, kills):
        thread.join()
    return told, cancels.outcomes, kills.killed


def judge(report, told, cancelled):
    good = [told["good_png"], told["good_jpeg"]]
    report.at_most("wrong replies", sum(t["wrong"] + t["wrong_in_warmup"] for t in good), 0)
    report.at_most("good requests that failed or were not sent",
                   sum(t["errors"] + t["not_sent"] for t in good), 0)
    report.at_least("good replies", sum(t["ok"] for t in good), 1)
    allowed = {"expiring": {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}, "garbage": {"INVALID_ARGUMENT"}}
    for kind, codes in allowed.items():
        other = {c: e["count"] for c, e in told[kind]["errors_by_code"].items() if c not in codes}
        report.at_most(f"{kind} requests that ended otherwise", sum(other.values()), 0)
    report.at_most("garbage that was restored", told["garbage"]["ok"], 0)
    other = {c: n for c, n in cancelled.items() if c not in ("CANCELLED", "OK")}
    report.at_most("cancelled requests that ended otherwise", sum(other.values()), 0)


def judge_memory(report, memory, seconds):
    settled = memory.median(seconds * 0.2, seconds * 0.4)
    last = memory.median(seconds * 0.9, seconds * 1.1)
    grown = None if settled is None or last is None else (last - settled) / MB
    report.at_most("growth of memory after the warm-up, MB", grown, 20)
    tenths = [memory.median(seconds * i / 10, seconds * (i + 1) / 10) for i in range(10)]
    report.figures(resident_mb_by_tenth=[None if b is None else round(b / MB, 1) for b in tenths])


def start(flags):
    if flags.leak == 0:
        return real_server("--model", flags.model)
    return faulty_server("--model", flags.model, env={"FAULTY_LEAK_BYTES": str(flags.leak)})


def soak(report, flags, garbage):
    with start(flags) as server:
        peak = bench(server, "--mix", MIX, "--duration", f"{flags.peak_seconds}s")
        files = open_files(server)
        rate = flags.load * peak["ok_per_second"]
        with Sampler(server, every_s=min(1.0, flags.seconds / 100)) as memory:
            told, cancelled, killed = traffic(server, flags, rate, garbage)
        idle = settle(lambda: is_idle(server))
        settle(lambda: open_files(server) <= files)
        files_after = open_files(server)
        alive = server.process.poll() is None
        exit_status = server.stop()
    judge(report, told, cancelled)
    judge_memory(report, memory, flags.seconds)
    report.figures(
        peak_per_second=peak["ok_per_second"], rate=rate, cancelled=cancelled, killed=killed,
        traffic={kind: {"sent": t["sent"], "ok": t["ok"], "errors": errors_of(t),
                        "latency_ms": t["latency_ms"]} for kind, t in told.items()})
    report.at_most("change of open files", abs(files_after - files), 5)
    report.at_least("queue and server empty at the end", int(idle), 1)
    report.at_least("server alive at the end", int(alive), 1)
    report.at_most("exit status", abs(exit_status), 0)


def main():
    flags = arguments(__doc__, seconds=600, peak_seconds=10, load=0.4, model="identity", leak=0, seed=1)
    report = Report("soak")
    with tempfile.TemporaryDirectory() as folder:
        garbage = pathlib.Path(folder) / "garbage.png"
        garbage.write_bytes(GARBAGE)
        soak(report, flags, garbage)
    report.finish()


if __name__ == "__main__":
    main()
