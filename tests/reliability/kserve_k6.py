"""A stock HTTP client, k6, on the Open Inference Protocol's REST form: not one request may fail.

k6 is of scripts/setup --with-kserve (DEWEATHER_K6 names another).
"""

import json
import os
import pathlib
import subprocess
import tempfile

from measure import Report, arguments, np, program, real_server, skip

HERE = pathlib.Path(__file__).resolve().parent
SIDE, SMALL_SIDE = 256, 24


def k6():
    setup = HERE.parents[1] / "scripts/setup"
    python = subprocess.run([setup, "--print-kserve"], capture_output=True, text=True, check=False).stdout.strip()
    path = os.environ.get("DEWEATHER_K6") or pathlib.Path(python).parent / "k6"
    if not os.access(path, os.X_OK):
        skip(f"no k6 at '{path}': run scripts/setup --with-kserve")
    return str(path)


def binary_request(tensor):
    """JSON and its length, and the tensor behind it."""
    head = json.dumps({"inputs": [{"name": "image", "datatype": "UINT8", "shape": tensor.shape,
                                   "parameters": {"binary_data_size": tensor.nbytes}}],
                       "parameters": {"binary_data_output": True}}).encode()
    return head + tensor.tobytes(), len(head)


def json_request(tensor):
    return json.dumps({"inputs": [{"name": "image", "datatype": "UINT8", "shape": tensor.shape, "data": tensor.tolist()}]})


def noise(side):
    return np.random.default_rng(1).integers(0, 255, (1, 3, side, side), np.uint8, endpoint=True)


def measure(server, flags, folder):
    """k6's own summary."""
    large, small = noise(SIDE), noise(SMALL_SIDE)
    body, length = binary_request(large)
    (folder / "binary").write_bytes(body)
    (folder / "json").write_text(json_request(small))
    settings = {"SERVER": server.http_address, "MODEL": flags.model, "BINARY": folder / "binary", "JSON": folder / "json",
                "LENGTH": length, "BYTES": large.nbytes, "VALUES": small.size, "CALLERS": flags.callers,
                "SECONDS": flags.seconds}
    done = subprocess.run(
        [k6(), "run", "--quiet", "--no-usage-report", "--address", "", "--summary-export", folder / "summary.json",
         *(f"--env={name}={value}" for name, value in settings.items()), HERE / "kserve_k6.js"],
        check=False, capture_output=True, text=True, timeout=flags.seconds + 300)
    return done, json.loads((folder / "summary.json").read_text())["metrics"]


def main():
    flags = arguments(__doc__, seconds=60, callers=4, model="deweather-small")
    program("deweather-server")
    k6()
    report = Report("kserve_k6")
    arguments_of = ["--model", flags.model] if flags.model == "identity" else []
    with tempfile.TemporaryDirectory() as name, real_server(*arguments_of, http=True) as server:
        done, metrics = measure(server, flags, pathlib.Path(name))
        report.figures(requests=metrics["http_reqs"]["count"], per_second=metrics["http_reqs"]["rate"],
                       milliseconds={q: metrics["http_req_duration"][q] for q in ("med", "p(95)", "max")},
                       told=done.stderr[-2000:])
        report.at_most("requests that failed", metrics["http_req_failed"]["passes"], 0)
        report.at_most("replies that were not as they should be", metrics["checks"]["fails"], 0)
        report.at_least("requests", metrics["http_reqs"]["count"], 3)
        report.at_most("exit status of k6", done.returncode, 0)
        report.at_most("exit status of the server", abs(server.stop()), 0)
    report.finish()


if __name__ == "__main__":
    main()
