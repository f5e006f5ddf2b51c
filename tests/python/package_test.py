"""The wheel, as a stranger gets it: into a fresh environment, with what it says that it needs."""

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import venv
import zipfile

import google.protobuf
import grpc
import pytest
from harness import ROOT, encode, noise


@pytest.fixture(scope="module")
def wheel():
    [found] = pathlib.Path(os.environ["DEWEATHER_WHEEL_DIR"]).glob("*.whl")
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, wheel):
    """A Python that has the wheel, grpc and protobuf, and nothing else: no network is asked for them."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                    "--disable-pip-version-check", "--target", site, wheel], check=True)
    for package in (grpc, google.protobuf):
        place = pathlib.Path(package.__file__).parent
        top = place.parent if place.parent.name == "google" else place
        (site / top.name).symlink_to(top)
    return folder / "bin/python"


def test_a_fresh_environment_restores(fresh, server, tmp_path):
    (tmp_path / "in.png").write_bytes(encode(noise(30, 20)))
    script = f"""
import sys
import deweather_client
from deweather_client import Client
with Client("{server.address}") as client:
    restored = client.restore("in.png")
    restored.save("out.png")
    assert restored._repr_html_().count("data:image/png") == 2
assert "numpy" not in sys.modules and "PIL" not in sys.modules
print(deweather_client.__version__)
"""
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([fresh, "-c", script], cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    version = re.search(r"^project\(deweather VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]
    assert done.stdout == f"{version}\n"
    assert done.stderr == ""
    assert (tmp_path / "out.png").read_bytes() != b""


def test_it_needs_two_packages():
    needs = importlib.metadata.requires("deweather-client")
    assert sorted(re.match(r"[\w-]+", need)[0] for need in needs if "extra" not in need) == ["grpcio", "protobuf"]


def test_what_it_is_tested_with_is_what_it_asks_for_at_least():
    """Of NumPy and Pillow, whose older versions read other pixels: the major version."""
    pinned = dict(line.split("==") for line in (ROOT / "scripts/requirements-python.txt").read_text().splitlines()
                  if "==" in line)
    needs = [re.match(r"(\w+)>=([\d.]+)", need) for need in importlib.metadata.requires("deweather-client")]
    least = {need[1]: need[2] for need in needs if need}
    assert least["pillow"] == pinned["pillow"].split(".")[0]


def test_it_is_typed_and_holds_the_messages_and_nothing_of_ours(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        text = b"".join(file.read(name) for name in names)
    for name in ("py.typed", "v1/restoration_pb2.py", "v1/restoration_pb2.pyi", "v1/training_pb2.py", "wire_pb2.pyi"):
        assert f"deweather_client/{name}" in names
    assert {name.split("/")[0] for name in names} == {"deweather_client", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    assert str(ROOT).encode() not in text


def test_other_packages_of_google_do_no_harm():
    """Their own google.rpc and grpc.health may be registered in the same program."""
    script = """
import deweather_client
from google.protobuf import descriptor_pb2, descriptor_pool
for name, package in (("google/rpc/status.proto", "google.rpc"), ("grpc/health/v1/health.proto", "grpc.health.v1")):
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    file.message_type.add(name="Status")
    file.message_type.add(name="HealthCheckRequest")
    descriptor_pool.Default().Add(file)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_wheel_is_the_same_each_time(wheel, tmp_path):
    subprocess.run([ROOT / "scripts/wheel", "--no-setup", tmp_path], check=True, capture_output=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
