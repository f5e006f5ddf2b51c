"""Calls that expire: each ends as it should, and none of its tiles reaches the model too late.

Pictures whose tiles take longer than any of the deadlines come in bursts, from several callers. Between
the bursts the server restores pictures of fast tiles, so that admission, which goes by what the last
batches took, lets the next burst in. The server in between notes every tile that it is asked to run and
that has expired.

Bounds: every call ends with DEADLINE_EXCEEDED, or with RESOURCE_EXHAUSTED where admission refused it
(counted apart); some are let in; no expired tile in a batch; nothing is left in the server.
"""

import collections
import contextlib
import random
import re

from measure import Report, arguments, encode, faulty_server, is_idle, settle, slow_picture

import grpc
from harness import noise

FORGOTTEN_AFTER = 60  # batches; admission goes by the last 50
LATE = re.compile(r"expired tile in a batch: late by ([0-9.]+) ms")


def outcome_of(call):
    try:
        call.result()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def send_bursts(server, picture, fast, deadlines, callers):
    """Counts of the calls' ends."""
    outcomes = collections.Counter()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(callers)]
        for first in range(0, len(deadlines), callers):
            for _ in range(FORGOTTEN_AFTER):
                clients[0].restore(fast)
            calls = [client.start_restore(picture, timeout=deadline_s)
                     for client, deadline_s in zip(clients, deadlines[first:])]
            outcomes.update(outcome_of(call) for call in calls)
    return outcomes


def main():
    flags = arguments(__doc__, count=1000, callers=8, side=800, longest_ms=400, late_ms=10.0, seed=1)
    report = Report("deadlines")
    rng = random.Random(flags.seed)
    deadlines = [rng.uniform(0.001, flags.longest_ms / 1e3) for _ in range(flags.count)]
    with faulty_server("--model", "identity") as server:
        outcomes = send_bursts(server, slow_picture(flags.side, flags.side),
                               encode(noise(100, 100)), deadlines, flags.callers)
        idle = settle(lambda: is_idle(server))
        metrics = server.metrics()
        exit_status = server.stop()
        late = [float(ms) for ms in LATE.findall(server.errors())]
    counted = {code: metrics[f'deweather_restore_requests_total{{code="{code}"}}']
               for code in ("OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED")}
    report.figures(calls=flags.count, outcomes=outcomes, counted_by_server=counted,
                   tiles_dropped=metrics['deweather_tiles_dropped_total{reason="deadline"}'],
                   expired_tiles_noted=len(late), latest_ms=max(late, default=0))
    report.at_most("calls with another outcome", flags.count - outcomes["DEADLINE_EXCEEDED"] -
                   outcomes["RESOURCE_EXHAUSTED"], 0)
    report.at_least("calls that expired", outcomes["DEADLINE_EXCEEDED"], flags.count // 20)
    # Between the queue's look at the clock and the run lies a moment in which a thread may be held up.
    report.at_most(f"tiles in a batch that had expired {flags.late_ms:g} ms before",
                   sum(ms > flags.late_ms for ms in late), 0)
    report.at_least("queue and server empty at the end", int(idle), 1)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    main()
