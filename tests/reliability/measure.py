"""What the reliability programs share: servers, loads, figures of /metrics, and the report.

Each program prints one JSON object, its figures and its bounds, and exits with 1 if a bound does not
hold. They find the programs as tests/e2e/harness.py does.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import BIN, Server, encode, np, program, skip  # noqa: E402

FAULTY = BIN.parent / "tests/faulty_server"
SLOW = (255, 0, 4)  # a tile whose first pixel is this takes the faulty server 50 ms longer


class Report:
    def __init__(self, name):
        self.told = {"name": name, "ok": True, "bounds": [], "figures": {}}

    def figures(self, **values):
        self.told["figures"].update(values)

    def at_most(self, what, measured, limit):
        self._bound(what, measured, "<=", limit, measured is not None and measured <= limit)

    def at_least(self, what, measured, limit):
        self._bound(what, measured, ">=", limit, measured is not None and measured >= limit)

    def _bound(self, what, measured, relation, limit, holds):
        self.told["bounds"].append({"what": what, "measured": measured, "relation": relation,
                                    "limit": limit, "ok": holds})
        self.told["ok"] &= holds

    def finish(self):
        print(json.dumps(self.told, indent=2))
        sys.exit(0 if self.told["ok"] else 1)


def arguments(description, **defaults):
    """Flags of a program: --seconds and the like, each with the type of its default."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        kind = str if default is None else type(default)
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=default)
    return parser.parse_args()


def pinned(core, *command):
    """The command on one core; core -1: wherever the system likes. Cores are those we may use."""
    usable = sorted(os.sched_getaffinity(0))
    if core < 0 or len(usable) < 2:
        return list(command)
    return ["taskset", "-c", str(usable[core % len(usable)]), *command]


def real_server(*args, core=-1, **options):
    return Server(*args, command=pinned(core, program("deweather-server")), **options)


def faulty_server(*args, core=-1, **options):
    if not FAULTY.exists():
        skip(f"{FAULTY} is not built")
    return Server(*args, command=pinned(core, str(FAULTY)), **options)


def bench_command(server, *args, core=-1):
    return pinned(core, program("deweather"), "bench", "--server", server.address, "--json",
                  *map(str, args))


def start_bench(server, *args, core=-1):
    return subprocess.Popen(bench_command(server, *args, core=core), stdout=subprocess.PIPE, text=True)


def finish_bench(process):
    """What it measured; an exit status of 1 is for the caller to judge by the figures."""
    out = process.communicate()[0]
    if process.returncode not in (0, 1):
        raise RuntimeError(f"bench ended with {process.returncode}: {out}")
    return json.loads(out)


def bench(server, *args, core=-1):
    told = finish_bench(start_bench(server, *args, core=core))
    if "error" in told:
        raise RuntimeError(f"bench: {told['error']}")
    return told


def errors_of(told):
    """Counts by "CODE REASON" of a bench's report."""
    counts = {}
    for code, error in told["errors_by_code"].items():
        rest = error["count"]
        for reason, count in error["reasons"].items():
            counts[f"{code} {reason}"] = count
            rest -= count
        if rest:
            counts[code] = rest
    return counts


class Histogram:
    """A histogram of /metrics, or what it grew by between two scrapes."""

    def __init__(self, metrics, name, before=None, labels=""):
        pattern = re.compile(re.escape(name) + r'_bucket\{(.*)le="([^"]+)"\}')
        self.buckets = []
        for series, value in metrics.items():
            found = pattern.fullmatch(series)
            if found and labels in found[1]:
                self.buckets.append((float(found[2]), value - (before or {}).get(series, 0)))
        self.buckets.sort()
        if not self.buckets:
            raise KeyError(f"the server has no histogram {name}")

    @property
    def count(self):
        return int(self.buckets[-1][1])

    def quantile(self, q):
        """Upper edge of the bucket that holds it; None without observations."""
        if self.count == 0:
            return None
        return next(edge for edge, total in self.buckets if total >= q * self.count)


class Sampler:
    """Resident memory of a server, once in a while, on a thread of its own."""

    def __init__(self, server, every_s=1.0):
        self.samples = []  # (seconds since the start, bytes)
        self._server, self._every_s, self._start = server, every_s, time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _run(self):
        while not self._end.wait(self._every_s):
            with contextlib.suppress(OSError):  # a server that dies is found out by others
                resident = self._server.metrics()["process_resident_memory_bytes"]
                self.samples.append((time.monotonic() - self._start, resident))

    def median(self, from_s, to_s):
        inside = [b for t, b in self.samples if from_s <= t <= to_s]
        return statistics.median(inside) if inside else None

    def most(self):
        return max(b for _, b in self.samples)


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def settle(condition, seconds=30):
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_idle(server):
    metrics = server.metrics()
    return metrics["deweather_queue_tiles"] == 0 and metrics["deweather_inflight_requests"] == 0


def slow_picture(width, height):
    """A PNG all of whose tiles are slow on the faulty server."""
    return encode(np.full((height, width, 3), SLOW, np.uint8))


def percentile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(np.ceil(q * len(ordered))) - 1)] if ordered else None
