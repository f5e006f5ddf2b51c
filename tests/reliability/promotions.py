"""Promotions under load, over the wire: two versions of one model take turns.

Every reply is held against what each version makes of that picture alone: it must be one of them, the one that
the reply names.

Bounds: no request fails; no reply mixes versions or names the wrong one; memory comes back to within 20 MB of
what it was after the first promotions.
"""

import collections
import pathlib
import shutil
import subprocess
import tempfile
import threading

from measure import Report, arguments, real_server, settle

import grpc
from harness import ROOT, encode, noise, program, smooth

MODELS = "deweather.v1.ModelService"
MIB = 1 << 20
CONFIG = "drain { delay {} } admission { max_caller_percent: 100 }"


def store(data, source, name):
    done = subprocess.run([program("deweather-train"), "import", str(source), str(data), "--name", name],
                          capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[3]


class Promoter:
    def __init__(self, client, name):
        self._client, self._name = client, name

    def promote(self, version, **options):
        request = self._client.message("deweather.v1.PromoteModelRequest")(
            name=self._name, version=version, **options)
        return self._client.method(MODELS, "PromoteModel")(request, timeout=300)


def call(server, name, pictures, expected, stop, seen):
    with server.client() as client:
        for i in range(1_000_000_000):
            if stop.is_set():
                return
            try:
                reply = client.restore(pictures[i % len(pictures)], model=name)
            except grpc.RpcError as error:
                seen[f"{error.code().name}: {error.details()}"] += 1
                continue
            right = expected[reply.model.version][i % len(pictures)]
            seen["right" if reply.image == right else "mixed"] += 1


def resident(server):
    return server.metrics()["process_resident_memory_bytes"]


def main():
    flags = arguments(__doc__, count=50, callers=8, settle_count=6)
    report = Report("promotions")
    data = pathlib.Path(tempfile.mkdtemp(prefix="promotions-"))
    weights = ROOT / "model/weights"
    name, seen, stop = "shipped", collections.Counter(), threading.Event()
    versions = [store(data, weights / f"{model}.safetensors", name)
                for model in ("deweather-rain", "deweather-small")]
    pictures = [encode(smooth(300, 200)), encode(noise(256, 256)), encode(smooth(64, 64))]
    with real_server("--model", "identity", "--data-dir", str(data), "--precision", "f32",
                     config=CONFIG) as server, server.client() as client:
        promoter, expected = Promoter(client, name), {}
        for version in versions:
            promoter.promote(version)
            expected[version] = [client.restore(p, model=name).image for p in pictures]
        threads = [threading.Thread(target=call, args=(server, name, pictures, expected, stop, seen))
                   for _ in range(flags.callers)]
        for thread in threads:
            thread.start()
        before, promoted = 0, []
        for i in range(flags.settle_count + flags.count):
            if i == flags.settle_count:
                before = resident(server)
            promoted.append(promoter.promote(versions[i % 2]).live_version == versions[i % 2])
        stop.set()
        for thread in threads:
            thread.join()
        limit = before + 20 * MIB
        settle(lambda: resident(server) <= limit, 30)
        growth = resident(server) - before
        exit_status = server.stop()
    shutil.rmtree(data)
    failed = {end: n for end, n in seen.items() if end not in ("right", "mixed")}
    report.figures(promotions=flags.count, callers=flags.callers, replies=seen, growth_mb=growth / MIB)
    report.at_most("promotions that did not take", promoted.count(False), 0)
    report.at_least("replies", seen["right"], flags.count)
    report.at_most("requests that failed", sum(failed.values()), 0)
    report.at_most("replies that are of no version, or of another than they name", seen["mixed"], 0)
    report.at_most("growth of memory, MB", growth / MIB, 20)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    main()
