"""What the server costs beyond decoding and encoding: identity model, 256x256 PNG over loopback.

Bound: at concurrency 1, p50 is at most 2 ms above the p50 of decode plus that of encode.
"""

from measure import Report, arguments, bench, real_server


def row(told, concurrency):
    latency, stages = told["latency_ms"], told["stages_ms"]
    beyond = latency["p50"] - stages["decode"]["p50"] - stages["encode"]["p50"]
    return {"concurrency": concurrency, "ok_per_second": told["ok_per_second"],
            "megapixels_per_second": told["megapixels_per_second"], "errors": told["errors"],
            "p50_ms": latency["p50"], "p99_ms": latency["p99"], "beyond_codec_p50_ms": beyond,
            "stages_mean_ms": {name: stage["mean"] for name, stage in stages.items()}}


def main():
    flags = arguments(__doc__, seconds=20, size="256x256")
    report = Report("overhead")
    with real_server("--model", "identity") as server:
        rows = [row(bench(server, "--mix", flags.size, "--concurrency", concurrency, "--connections", 0,
                          "--duration", f"{flags.seconds}s", "--warmup", "2s"), concurrency)
                for concurrency in (1, 8, 32)]
    report.figures(table=rows)
    report.at_most("p50 beyond decode and encode at concurrency 1, ms", rows[0]["beyond_codec_p50_ms"], 2)
    report.at_most("failed requests", sum(r["errors"] for r in rows), 0)
    report.finish()


if __name__ == "__main__":
    main()
