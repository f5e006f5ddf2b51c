"""Calls that are cancelled at random moments: their tiles leave the queue at once.

Every other picture's tiles take long enough for a queue to form, the rest spend their time in decoding
and encoding; a call is cancelled after a random time, from before the server has it to after its reply.

Bounds: from a cancel until the queue is rid of the call's tiles 10 ms at p99, on the server; no tile goes
into a batch after its cancel, but for one in a hundred cancels; nothing is left in the server; every
call ends with CANCELLED, or OK where its reply was faster.
"""

import collections
import concurrent.futures
import random
import time

from measure import Histogram, Report, arguments, encode, faulty_server, is_idle, settle, slow_picture

import grpc
from harness import noise


def cancel_one(client, picture, after_s):
    call = client.start_restore(picture)
    time.sleep(after_s)
    call.cancel()
    try:
        call.result()
        return "OK"
    except grpc.FutureCancelledError:
        return "CANCELLED"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def cancel_all(server, pictures, delays, callers):
    with server.client() as client, concurrent.futures.ThreadPoolExecutor(callers) as pool:
        client.restore(pictures[0])  # reflection and connection come first
        each = [pictures[i % len(pictures)] for i in range(len(delays))]
        return collections.Counter(pool.map(lambda p, s: cancel_one(client, p, s), each, delays))


def main():
    flags = arguments(__doc__, count=1000, callers=8, side=500, longest_ms=1000, seed=1)
    report = Report("cancels")
    rng = random.Random(flags.seed)
    delays = [flags.longest_ms / 1e3 * 10 ** rng.uniform(-4, 0) for _ in range(flags.count)]
    with faulty_server("--model", "identity") as server:
        pictures = [slow_picture(flags.side, flags.side), encode(noise(900, 700))]
        outcomes = cancel_all(server, pictures, delays, flags.callers)
        idle = settle(lambda: is_idle(server))
        metrics = server.metrics()
        exit_status = server.stop()
        run_in_vain = server.errors().count("cancelled tile in a batch")
    gone = Histogram(metrics, "deweather_cancel_seconds")
    report.figures(calls=flags.count, outcomes=outcomes, cancels_on_server=gone.count, tiles_run_in_vain=run_in_vain,
                   tiles_dropped=metrics['deweather_tiles_dropped_total{reason="cancelled"}'])
    report.at_most("calls with another outcome",
                   flags.count - outcomes["CANCELLED"] - outcomes["OK"], 0)
    report.at_least("cancels that the server measured", gone.count, flags.count // 4)
    report.at_most("p99 from a cancel to a queue without its tiles, s", gone.quantile(0.99), 0.01)
    # Between the queue's look at a call and the run lies a moment in which it may be cancelled.
    report.at_most("tiles that went into a batch after their cancel", run_in_vain, flags.count // 100)
    report.at_least("queue and server empty at the end", int(idle), 1)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    main()
