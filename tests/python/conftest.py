"""The servers that the tests talk to, started as tests/e2e does."""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE))
sys.path.append(str(HERE.parent / "e2e"))

from harness import Server, program, wait_until  # noqa: E402

from deweather_client import Client  # noqa: E402


@pytest.fixture(scope="session")
def server():
    """Its pictures come back as they went."""
    with Server("--model", "identity") as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.address) as made:
        yield made


@pytest.fixture
def nothing_is_left(server):
    """Afterwards the server holds nothing for any call."""
    yield

    def held():
        metrics = server.metrics()
        return metrics["deweather_inflight_requests"], metrics["deweather_inflight_bytes"]

    wait_until(lambda: held() == (0, 0))


@pytest.fixture
def command(tmp_path):
    """The restored file of `deweather restore`, the C++ client."""

    def restore(address, file, suffix, *options):
        (tmp_path / f"in{suffix}").write_bytes(file)
        out = tmp_path / f"out{suffix}"
        subprocess.run([program("deweather"), "restore", tmp_path / f"in{suffix}", "-o", out, "--overwrite",
                        "--server", address, *options], check=True, capture_output=True, timeout=120)
        return out.read_bytes()

    return restore
