"""bench_table.py ROOT [--json] BATCH...: runs `deweather-train bench` for each network, prints a table."""

import itertools
import json
import pathlib
import subprocess
import sys

RAIN = "model/weights/deweather-rain.safetensors"
NETWORKS = {
    "dense": ["--kind", "dense"],
    "fme E=16 K=4": ["--kind", "fme", "--experts", "16", "--kept", "4"],
    "fme E=64 K=4": ["--kind", "fme", "--experts", "64", "--kept", "4"],
    "fme E=128 K=4": ["--kind", "fme", "--experts", "128", "--kept", "4"],
    "ffn E=16 K=4": ["--kind", "ffn", "--experts", "16", "--kept", "4"],
    "ffn E=128 K=4": ["--kind", "ffn", "--experts", "128", "--kept", "4"],
    "deweather-rain": ["--model", RAIN],
}
PRECISIONS = ("f32", "bf16")
ROW = "{:<15} {:>11} {:>5} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}"


def measure(root, network, batch, precision):
    command = [root / "build/release/bin/deweather-train", "bench", *NETWORKS[network]]
    command += ["--size", "256", "--batch", str(batch), "--precision", precision, "--stages", "--json"]
    reply = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(reply.stdout)


def row(network, found):
    parameters = f"{found['parameters']:,}".replace(",", " ")
    return ROW.format(network, parameters, found["batch"], found["precision"],
                      f"{found['ms_per_tile']:.1f}", f"{found['min']:.1f}",
                      f"{found['tiles_per_second']:.2f}", f"{found['gflops']:.0f}",
                      f"{100 * found['share_of_peak']:.0f}%")


def say_cost_of_experts(batches, found):
    any_one = next(iter(found.values()))
    print(f"\n{any_one['device']}, {any_one['threads']} threads; time of fme E=128 over E=16, K=4:")
    for batch, precision in itertools.product(batches, PRECISIONS):
        many, few = (found[batch, precision, f"fme E={e} K=4"]["ms_per_tile"] for e in (128, 16))
        print(f"  batch {batch} {precision}: {many / few:.3f}")
    for precision in PRECISIONS:
        peaks = [one["peak_gflops"] for one in found.values() if one["precision"] == precision]
        print(f"matrix product at best, {precision}: {max(peaks):.0f} GFLOP/s")


def main():
    root, *arguments = sys.argv[1:]
    as_json = "--json" in arguments
    batches = [int(argument) for argument in arguments if argument != "--json"]
    found = {}
    if not as_json:
        print(ROW.format("network", "parameters", "batch", "precision", "ms/tile", "least", "tiles/s",
                         "GFLOP/s", "of peak"))
    for batch, precision, network in itertools.product(batches, PRECISIONS, NETWORKS):
        one = found[batch, precision, network] = measure(pathlib.Path(root), network, batch, precision)
        if not as_json:
            print(row(network, one), flush=True)
    if as_json:
        print(json.dumps([{"network": network, **one} for (_, _, network), one in found.items()]))
    else:
        say_cost_of_experts(batches, found)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
