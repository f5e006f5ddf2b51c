"""deploy/compose.yaml as podman-compose runs it, under a project name of its own and on free ports.

podman-compose 1.0.3 knows neither profiles nor stop_grace_period: services are named, and the time is passed on.
"""

import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import Client, wait_until  # noqa: E402
import yaml  # noqa: E402
from prerequisites import DEPLOY, ROOT, need, skip  # noqa: E402

PODMAN, COMPOSE = need("podman", "podman-compose")
FILE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = FILE["services"]


def podman(*args, check=True, **options):
    options.setdefault("text", True)
    done = subprocess.run([PODMAN, *map(str, args)], capture_output=True, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"podman {' '.join(map(str, args))}: {done.stderr}")
    return done


def has_image(name):
    return podman("image", "exists", name, check=False).returncode == 0


@functools.cache
def server_image():
    """The name of the image under test: DEWEATHER_IMAGE, or one built now."""
    name = os.environ.get("DEWEATHER_IMAGE")
    if not name:
        name = "localhost/deweather:compose-test"
        subprocess.run([ROOT / "deploy/image/build", "-t", name], check=True)
    if not has_image(name):
        skip(f"no image {name} here")
    return name


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def image_of(service, program, containerfile, data=None):
    """The image that `service` is of, where it is; else one of this machine's program, under a name that says so."""
    wanted = re.fullmatch(r"\$\{\w+:-(\S+)\}", service["image"])[1]
    if has_image(wanted):
        return wanted
    name = f"localhost/deweather-test-{pathlib.Path(program).name}"
    with tempfile.TemporaryDirectory() as folder:
        context = pathlib.Path(folder)
        for path in (program, *libraries(program)):
            place = context / "root" / path[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        if data:
            (context / "data" / data).mkdir(parents=True)
        (context / "Containerfile").write_text(f"FROM scratch\nCOPY root /\n{containerfile}")
        podman("build", "-q", "-t", name, context)
    return name


@functools.cache
def provide_prometheus():
    program = need("prometheus")
    return image_of(SERVICES["prometheus"], program, 'COPY --chown=65534:65534 data /\nUSER 65534\nWORKDIR /prometheus\n'
                    f'VOLUME /prometheus\nENTRYPOINT ["{program}"]\n', data="prometheus")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def seconds(duration):
    return int(re.fullmatch(r"(\d+)s", duration)[1])


class Stack:
    """Started by `up`, gone with its volumes at the end. `variables` are those of compose.yaml."""

    def __init__(self, image, restart=None, **variables):
        self.project = f"deweather-test-{os.getpid()}-{free_port()}"
        self.image = image
        self.ports = {name: free_port() for name in (
            "DEWEATHER_GRPC_PORT", "DEWEATHER_HTTP_PORT", "DEWEATHER_METRICS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
        self.variables = {"DEWEATHER_IMAGE": image, "PROMETHEUS_IMAGE": provide_prometheus(),
                          **{k: str(v) for k, v in self.ports.items()}, **variables}
        self.folder = tempfile.TemporaryDirectory()
        self.files = ["-f", str(DEPLOY / "compose.yaml")]
        if restart is not None:
            override = pathlib.Path(self.folder.name) / "override.yaml"
            override.write_text(yaml.safe_dump({"services": {"server": {"restart": restart}}}))
            self.files += ["-f", str(override)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for service in SERVICES:
            podman("rm", "-f", "-v", "-t", "1", self.container(service), check=False)
        for volume in FILE["volumes"]:
            podman("volume", "rm", "-f", self.volume(volume), check=False)
        podman("network", "rm", "-f", self.network, check=False)
        self.folder.cleanup()
        (DEPLOY / "oom").unlink(missing_ok=True)  # conmon leaves it where podman-compose ran, if memory ran out

    @property
    def network(self):
        return f"{self.project}_default"

    @property
    def address(self):
        return f"127.0.0.1:{self.ports['DEWEATHER_GRPC_PORT']}"

    def container(self, service):
        return f"{self.project}_{service}_1"

    def volume(self, name):
        return f"{self.project}_{name}"

    def compose(self, *args):
        done = subprocess.run([COMPOSE, *self.files, "-p", self.project, *args], capture_output=True,
                              text=True, check=False, env={**os.environ, **self.variables})
        if done.returncode != 0:
            raise AssertionError(f"podman-compose {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self, *services):
        return self.compose("up", "-d", *services)

    def stop(self, service):
        return self.compose("stop", "-t", str(seconds(SERVICES[service]["stop_grace_period"])), service)

    def down(self, *services):
        return self.compose("down", "-t", "80", *services)

    def inspect(self, service, template):
        return podman("inspect", "-f", template, self.container(service)).stdout.strip()

    def log(self, service):
        """Both streams, in the order of the log."""
        done = subprocess.run([PODMAN, "logs", self.container(service)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=True)
        return done.stdout.splitlines()

    def is_healthy(self):
        """What the image's own health check says."""
        return podman("healthcheck", "run", self.container("server"), check=False).returncode == 0

    def has_ended(self):
        return self.inspect("server", "{{.State.Status}} {{.RestartCount}}") not in ("running 0", "created 0")

    def wait_until_healthy(self, time_s=120):
        try:
            wait_until(lambda: self.is_healthy() or self.has_ended(), time_s)
            ended = self.has_ended()
        except AssertionError:
            ended = True
        if ended:
            raise AssertionError("not healthy:\n" + "\n".join(self.log("server")[-20:]))

    def client(self, *args, folder=None, **options):
        """`deweather` in a container of its own, which knows the server by its name alone; `folder` is its /in."""
        mount = ["-v", f"{folder}:/in:ro"] if folder else []
        return podman("run", "--rm", "-i", "--no-healthcheck", "--network", self.network, *mount,
                      "--entrypoint", "/usr/bin/deweather", "-e", "DEWEATHER_SERVER=server:50051",
                      self.image, *args, **options)

    def grpc(self):
        return Client(self.address)

    def metrics(self):
        """Every series of the server's /metrics."""
        url = f"http://127.0.0.1:{self.ports['DEWEATHER_METRICS_PORT']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def prometheus(self, path, **parameters):
        """What Prometheus' HTTP API answers, or None while it does not."""
        url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/{path}"
        if parameters:
            url += "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except OSError:
            return None

    def query(self, expression):
        """The value of a query with one result; None without."""
        told = self.prometheus("query", query=expression)
        return float(told["result"][0]["value"][1]) if told and told["result"] else None

    def wait_for_exit(self, service="server", time_s=120):
        """Exit status of a container that ends by itself."""
        wait_until(lambda: self.inspect(service, "{{.State.Status}}") == "exited", time_s)
        return int(self.inspect(service, "{{.State.ExitCode}}"))
