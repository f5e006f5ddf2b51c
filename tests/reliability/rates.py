"""What the server alone can carry: identity model, 256x256 BMP (no codec to pay) over loopback.

Bounds, of two cores that also run the load: 600, 1500 and 2000 requests/s at 1, 4 and 16 callers.
"""

import statistics

from measure import Report, arguments, bench, real_server

LEAST = {1: 600, 4: 1500, 16: 2000}  # requests/s, by callers


def main():
    flags = arguments(__doc__, seconds=10, rounds=3)
    report = Report("rates")
    rounds = {callers: [] for callers in LEAST}
    with real_server("--model", "identity") as server:
        for _ in range(flags.rounds):
            for callers, told in rounds.items():
                told.append(bench(server, "--mix", "256x256", "--format", "bmp", "--concurrency", callers,
                                  "--duration", f"{flags.seconds}s"))
    report.figures(table=[{"callers": callers, "p50_ms": statistics.median(t["latency_ms"]["p50"] for t in told),
                           "ok_per_second": [t["ok_per_second"] for t in told]}
                          for callers, told in rounds.items()])
    for callers, least in LEAST.items():
        rate = statistics.median(told["ok_per_second"] for told in rounds[callers])
        report.at_least(f"requests/s at {callers} callers, median", rate, least)
    report.at_most("failed requests", sum(told["errors"] for row in rounds.values() for told in row), 0)
    report.finish()


if __name__ == "__main__":
    main()
