"""SIGTERM under load, again and again: what the server let in, it finishes.

Each round starts a server, puts callers on it and stops it at a random moment. A caller calls until it
is told to go elsewhere. A call may end with OK; with UNAVAILABLE and the reason DRAINING, if it came too
late; or with a connection refused, if the server was gone already. Any other end is a failure in flight.

Bounds: no failure in flight; every server exits with 0.
"""

import collections
import random
import threading
import time

from measure import Report, arguments, encode, real_server

import grpc
from harness import noise

CONFIG = "drain { delay { nanos: 100000000 } timeout { seconds: 30 } }"
GONE = ("Connection refused", "failed to connect", "connect failed", "Failed to connect")


def outcome_of(client, picture):
    try:
        client.restore(picture)
        return "OK"
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        if error.code() is grpc.StatusCode.UNAVAILABLE and b"DRAINING" in details:
            return "DRAINING"
        if error.code() is grpc.StatusCode.UNAVAILABLE and any(w in error.details() for w in GONE):
            return "GONE"
        return f"{error.code().name}: {error.details()}"


def call_until_refused(server, pictures, outcomes):
    with server.client() as client:
        client.restore(pictures[0])
        outcomes["ready"].release()
        for i in range(1_000_000):
            outcome = outcome_of(client, pictures[i % len(pictures)])
            outcomes["seen"].append(outcome)
            if outcome != "OK":
                return


def one_round(pictures, callers, after_s):
    """Counts of the calls' ends, the exit status, and the seconds that stopping took."""
    outcomes = {"seen": [], "ready": threading.Semaphore(0)}
    with real_server("--model", "identity", config=CONFIG) as server:
        threads = [threading.Thread(target=call_until_refused, args=(server, pictures, outcomes))
                   for _ in range(callers)]
        for thread in threads:
            thread.start()
        for _ in threads:
            if not outcomes["ready"].acquire(timeout=60):
                raise RuntimeError(f"the server does not answer:\n{server.errors()}")
        time.sleep(after_s)
        start = time.monotonic()
        exit_status = server.stop(timeout=60)
        stopped_s = time.monotonic() - start
        for thread in threads:
            thread.join()
    return collections.Counter(outcomes["seen"]), exit_status, stopped_s


def main():
    flags = arguments(__doc__, count=100, callers=6, longest_ms=500, seed=1)
    report = Report("sigterm")
    rng = random.Random(flags.seed)
    pictures = [encode(noise(64, 64)), encode(noise(700, 500), "JPEG"), encode(noise(256, 256))]
    total, failed_exits, slowest_s = collections.Counter(), 0, 0.0
    for _ in range(flags.count):
        outcomes, exit_status, stopped_s = one_round(
            pictures, flags.callers, rng.uniform(0, flags.longest_ms / 1e3))
        total += outcomes
        failed_exits += exit_status != 0
        slowest_s = max(slowest_s, stopped_s)
    report.figures(rounds=flags.count, outcomes=total, slowest_stop_s=slowest_s)
    report.at_most("failures in flight", sum(total.values()) - total["OK"] - total["DRAINING"] -
                   total["GONE"], 0)
    report.at_least("calls that ended well", total["OK"], flags.count)
    report.at_most("servers that did not exit with 0", failed_exits, 0)
    report.finish()


if __name__ == "__main__":
    main()
