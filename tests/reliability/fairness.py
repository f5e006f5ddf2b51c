"""Small photos are not held up by a large one, nor one caller by another's thousand.

The model is the faulty server's: every tile takes 50 ms, so that a batch costs as much as its tiles one by
one, which is the worst case, and the processor is free. --model deweather-rain takes the real server.

Bounds: while a photo of 50 megapixels is restored, small photos of another caller take at p99 at most
the largest batch plus twice their own service time (their latency on the idle server, p99). One request
of a caller while a thousand of another's wait takes at most two largest batches, the one that runs and
the one that takes it along, plus the same.
"""

import time

from measure import (Report, arguments, faulty_server, is_idle, percentile, real_server, settle,
                     slow_picture)

CONFIG = """
drain {{ delay {{}} }}
limits {{ max_concurrent_streams: {streams} }}
admission {{ max_bytes: {bytes} }}
batching {{ max_tiles: {cap} }}
"""
TILE_PX, STEP_PX = 256, 224  # of the identity model: tiles overlap by 32 pixels


def times_alone(client, picture, count=50):
    """Latencies in seconds of a picture on the idle server."""
    times = []
    for _ in range(count):
        start = time.monotonic()
        client.restore(picture)
        times.append(time.monotonic() - start)
    return times


def largest_batch(client, cap, count=20):
    """Run time in seconds of a batch of `cap` tiles, alone, at p99."""
    times = []
    for _ in range(count):
        timings = client.restore(slow_picture(TILE_PX + (cap - 1) * STEP_PX, TILE_PX)).timings
        if (timings.tiles, timings.batches) == (cap, 1):
            times.append(timings.infer.ToTimedelta().total_seconds())
    if not times:
        raise RuntimeError(f"a picture of {cap} tiles never went in one batch")
    return percentile(times, 0.99)


def small_beside_large(server, small, large, seconds):
    """Latencies of small photos while the large one is restored; whether that was done too early."""
    with server.client() as caller, server.client() as other:
        caller.restore(small)
        other.restore(small)
        call = other.start_restore(large, timeout=3600)
        if not settle(lambda: server.metrics()["deweather_queue_tiles"] > 0, 120):
            raise RuntimeError("the large photo does not come into the queue")
        times = []
        end = time.monotonic() + seconds
        while time.monotonic() < end and not call.done():
            times += times_alone(caller, small, 1)
        early = call.done()
        call.cancel()
    return times, early


def one_beside_many(server, small, count):
    """Latency of one caller's request while `count` of another's are queued."""
    with server.client() as crowd, server.client() as caller:
        caller.restore(small)
        crowd.restore(small)
        calls = [crowd.start_restore(small, timeout=3600) for _ in range(count)]
        if not settle(lambda: server.metrics()["deweather_queue_tiles"] > count * 0.8, 120):
            raise RuntimeError("the crowd's requests do not come into the queue")
        latency = times_alone(caller, small, 1)[0]
        waiting = sum(not call.done() for call in calls)
        for call in calls:
            call.cancel()
    return latency, waiting


def main():
    flags = arguments(__doc__, seconds=30, megapixels=50, count=1000, cap=8, model="identity")
    report = Report("fairness")
    small = slow_picture(200, 200)
    side = int((flags.megapixels * 1e6) ** 0.5)
    config = CONFIG.format(streams=flags.count + 100, bytes=8 << 30, cap=flags.cap)
    start = faulty_server if flags.model == "identity" else real_server
    with start("--model", flags.model, config=config) as server:
        with server.client() as client:
            client.restore(small)
            own = percentile(times_alone(client, small), 0.99)
            batch = largest_batch(client, flags.cap)
        times, early = small_beside_large(server, small, slow_picture(side, side), flags.seconds)
        settle(lambda: is_idle(server))
        one, waiting = one_beside_many(server, small, flags.count)
        idle = settle(lambda: is_idle(server))
        exit_status = server.stop()
    bound = batch + 2 * own
    report.figures(model=flags.model, batch_cap_tiles=flags.cap, largest_batch_s=batch, own_service_p99_s=own,
                   large_side_px=side, small_photos=len(times), small_p50_s=percentile(times, 0.5),
                   small_p99_s=percentile(times, 0.99), small_max_s=max(times),
                   one_among_many_s=one, many_still_waiting=waiting)
    report.at_most("the large photo was done too early", int(early), 0)
    report.at_most("p99 of small photos beside a large one, s", percentile(times, 0.99), bound)
    report.at_most("one request beside another caller's many, s", one, batch + bound)
    report.at_least("of the many still waiting then", waiting, flags.count // 2)
    report.at_least("queue and server empty at the end", int(idle), 1)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    main()
