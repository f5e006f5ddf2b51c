"""Overload at twice the capacity: what is served stays served, and the rest is refused fast.

First the peak: a closed loop with enough callers to keep the server busy, and a short overload that
fills the allocator. Then twice that rate, open loop, each request with a deadline. The server has one core, the generator another. Small pictures of
the shipped model keep the model busy; --model identity keeps the codecs busy.

Bounds: good replies in time per second are at least 90 % of the peak; a refusal takes at most 5 ms at
p99 on the server, from the message to its answer; memory grows above the most that it was at the peak by
no more than the byte budget.
"""

from measure import Histogram, Report, Sampler, arguments, bench, errors_of, real_server

MIB = 1 << 20
CONFIG = """
drain {{ delay {{}} }}
admission {{ max_bytes: {bytes} }}
limits {{ max_transport_bytes: {transport} }}
"""


def main():
    flags = arguments(__doc__, seconds=300, peak_seconds=30, model="deweather-rain", mix="64x64",
                      deadline_ms=2000, factor=2.0, concurrency=16, connections=16,
                      budget_mib=256, server_core=0, load_core=1)
    report = Report("overload")
    config = CONFIG.format(bytes=flags.budget_mib * MIB, transport=64 * MIB)
    common = ("--mix", flags.mix, "--connections", flags.connections)
    with real_server("--model", flags.model, core=flags.server_core, config=config) as server:
        with Sampler(server) as memory_at_peak:
            peak = bench(server, *common, "--concurrency", flags.concurrency, "--warmup", "5s",
                         "--duration", f"{flags.peak_seconds}s", core=flags.load_core)
            # Batches of every size: what the allocator keeps of them is no growth.
            bench(server, *common, "--rate", flags.factor * peak["ok_per_second"], "--timeout",
                  f"{flags.deadline_ms}ms", "--duration", f"{flags.peak_seconds}s",
                  core=flags.load_core)
        before = server.metrics()
        with Sampler(server) as memory:
            over = bench(server, *common, "--rate", flags.factor * peak["ok_per_second"], "--timeout",
                         f"{flags.deadline_ms}ms", "--warmup", "5s", "--duration",
                         f"{flags.seconds}s", core=flags.load_core)
        refusals = Histogram(server.metrics(), "deweather_refusal_seconds", before)
        exit_status = server.stop()
    report.figures(
        model=flags.model, mix=flags.mix, peak_per_second=peak["ok_per_second"],
        peak_errors=errors_of(peak), offered_per_second=flags.factor * peak["ok_per_second"],
        good_per_second=over["ok_per_second"], sent=over["sent"], ok=over["ok"],
        not_sent=over["not_sent"], errors=errors_of(over), latency_ms=over["latency_ms"],
        send_delay_ms=over["send_delay_ms"], refusals_on_server=refusals.count,
        resident_mib_at_peak=memory_at_peak.most() / MIB, resident_mib_most=memory.most() / MIB)
    report.at_least("good replies per second, of the peak", over["ok_per_second"] /
                    max(peak["ok_per_second"], 1e-9), 0.9)
    report.at_least("refusals", refusals.count, 1)
    report.at_most("p99 of a refusal on the server, s", refusals.quantile(0.99), 0.005)
    report.at_most("memory above that at the peak, MiB",
                   (memory.most() - memory_at_peak.most()) / MIB, flags.budget_mib)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    main()
