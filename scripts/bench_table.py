"""bench_table.py ROOT BATCH...: runs `deweather-train bench` for each network, prints a table."""

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
ROW = "{:<15} {:>11} {:>5} {:>9} {:>9} {:>9} {:>8}"


def measure(root, network, batch, precision):
    command = [root / "build/release/bin/deweather-train", "bench", *NETWORKS[network]]
    command += ["--size", "256", "--batch", str(batch), "--precision", precision, "--json"]
    reply = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(reply.stdout)


def main():
    root = pathlib.Path(sys.argv[1])
    batches = [int(argument) for argument in sys.argv[2:]]
    medians = {}
    print(ROW.format("network", "parameters", "batch", "precision", "ms/tile", "least", "tiles/s"))
    for batch, precision, network in itertools.product(batches, ("f32", "bf16"), NETWORKS):
        found = measure(root, network, batch, precision)
        median, least = found["ms_per_tile"], found["min"]
        medians[batch, precision, network] = median
        numbers = (f"{median:.1f}", f"{least:.1f}", f"{1000 / median:.2f}")
        parameters = f"{found['parameters']:,}".replace(",", " ")
        print(ROW.format(network, parameters, batch, precision, *numbers), flush=True)
    print(f"\n{found['device']}, {found['threads']} threads; time of fme E=128 over E=16, K=4:")
    for batch, precision in itertools.product(batches, ("f32", "bf16")):
        many, few = (medians[batch, precision, f"fme E={e} K=4"] for e in (128, 16))
        print(f"  batch {batch} {precision}: {many / few:.3f}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
