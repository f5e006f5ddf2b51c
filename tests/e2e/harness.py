"""Starts the real programs and talks to them as a stranger would: over gRPC by reflection, and HTTP.

Environment: DEWEATHER_BIN, the folder of the programs; DEWEATHER_PYTHON, a Python with the packages of
scripts/requirements.txt (default: the one that scripts/setup made).
"""

import fcntl
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("DEWEATHER_BIN") or ROOT / "build/release/bin")
SKIPPED = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def use_packages():
    """Goes on in the Python that has the packages, if this one has not."""
    try:
        import grpc_reflection  # noqa: F401
        import numpy  # noqa: F401
        import PIL  # noqa: F401
        return
    except ImportError:
        pass
    default = subprocess.run([ROOT / "scripts/setup", "--print-python"], capture_output=True, text=True,
                             check=False).stdout.strip()
    python = os.environ.get("DEWEATHER_PYTHON") or default
    if os.environ.get("DEWEATHER_REEXEC") or not os.access(python, os.X_OK):
        skip(f"no grpcio, numpy and pillow in '{python}': run scripts/setup")
    os.environ["DEWEATHER_REEXEC"] = "1"
    os.execv(python, [python, "-B", *sys.argv])


use_packages()

import grpc  # noqa: E402
import numpy as np  # noqa: E402
from google.protobuf import descriptor_pool, message_factory  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # noqa: E402
    ProtoReflectionDescriptorDatabase,
)
from PIL import Image  # noqa: E402

SERVICE = "deweather.v1.RestorationService"


def program(name):
    path = BIN / name
    if not path.exists():
        skip(f"{path} is not built")
    return str(path)


def noise(width, height, channels=3, dtype=np.uint8, seed=1):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(width, height):
    """Colours that compress well."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)


def encode(pixels, kind="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def wait_until(condition, seconds=30):
    """Asks again and again; a test that needs this has no event to wait for."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)


class Server:
    """A deweather-server on free ports. Without `config`, it drains without delay.

    It serves HTTP too where `http` says so: `http_address`.

    `command` starts another program in its place, or the same one through another.
    """

    def __init__(self, *args, config="drain { delay {} }", env=None, command=None,
                 listen="127.0.0.1:0", http=False):
        self.log = tempfile.TemporaryFile("w+")
        fcntl.fcntl(self.log, fcntl.F_SETFL, os.O_APPEND)  # reading it moves nothing that is written
        self.config = tempfile.NamedTemporaryFile("w", suffix=".textproto")
        self.config.write(config)
        self.config.flush()
        listening = ["--listen", listen, "--metrics-listen", "127.0.0.1:0",
                     *(["--http-listen", "127.0.0.1:0"] if http else [])]
        self.process = subprocess.Popen(
            [*(command or [program("deweather-server")]), "--config", self.config.name, *listening, *args],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, **(env or {})})
        listens = self.read_addresses(3 if http else 2)
        self.address, self.metrics_address = listens.get("grpc"), listens.get("metrics")
        self.http_address = listens.get("http")

    def read_addresses(self, count):
        """Where it says that it listens, that many of them."""
        found = {}
        for line in self.process.stdout:
            match = re.fullmatch(r"(grpc|metrics|http) listening on (\S+)\n", line)
            assert match, f"unexpected on stdout: {line!r}"
            found[match[1]] = match[2]
            if len(found) == count:
                return found
        self.process.wait()
        raise AssertionError(f"the server did not start:\n{self.errors()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.config.close()

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self, timeout=30):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def metrics(self):
        """Every series by its name as written, labels and all."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def client(self, **options):
        return Client(self.address, **options)


class Client:
    """Knows nothing of the service but what reflection tells."""

    def __init__(self, address, credentials=None):
        """With `credentials`, over TLS."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.use_local_subchannel_pool", 1)]
        self.channel = (grpc.secure_channel(address, credentials, options) if credentials
                        else grpc.insecure_channel(address, options))
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def method(self, service, name):
        found = self.pool.FindServiceByName(service).FindMethodByName(name)
        reply = message_factory.GetMessageClass(found.output_type)
        sides = ("unary", "stream")
        make = getattr(self.channel, f"{sides[found.client_streaming]}_{sides[found.server_streaming]}")
        return make(f"/{service}/{name}", request_serializer=lambda m: m.SerializeToString(),
                    response_deserializer=reply.FromString)

    def request(self, image, **options):
        return self.message("deweather.v1.RestoreRequest")(image=image, options=options)

    def restore(self, image, timeout=60, **options):
        return self.method(SERVICE, "Restore")(self.request(image, **options), timeout=timeout)

    def start_restore(self, image, timeout=60, **options):
        return self.method(SERVICE, "Restore").future(self.request(image, **options), timeout=timeout)

    def health(self, service=""):
        request = self.message("grpc.health.v1.HealthCheckRequest")(service=service)
        reply = self.method("grpc.health.v1.Health", "Check")(request, timeout=10)
        return type(reply).ServingStatus.Name(reply.status)


class TestCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def fails_with(self, code, call, *args, **options):
        """The error of a call that must fail with this code."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **options)
        self.assertEqual(caught.exception.code().name, code, caught.exception.details())
        return caught.exception

    def run_program(self, name, *args, status=0, **options):
        """Output of a program that must end with this status."""
        options = {"text": True, "timeout": 120, **options}
        done = subprocess.run([program(name), *map(str, args)], capture_output=True, check=False, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        return done


def main():
    unittest.main(verbosity=2)
