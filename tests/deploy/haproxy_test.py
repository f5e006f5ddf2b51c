"""deploy/scale/haproxy.cfg in the real HAProxy, before real servers on addresses of their own."""

import contextlib
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import textwrap
import time
import unittest
import urllib.request

from prerequisites import DEPLOY, ROOT, need

HAPROXY = need("haproxy")
CONFIG = DEPLOY / "scale/haproxy.cfg"
SHIPPED = CONFIG.read_text()

import balancer  # noqa: E402
from harness import Client, Server, TestCase, encode, grpc, main, smooth, wait_until  # noqa: E402

DRAIN = "drain { delay { seconds: 3 } timeout { seconds: 10 } }"
ESTABLISHED = "01"  # in /proc/net/tcp6


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def change(text, *changes):
    for pattern, replacement in changes:
        text, times = re.subn(pattern, replacement, text)
        assert times, pattern
    return text


def several_machines():
    """With the backends that docs/operations.md has for servers on machines of their own."""
    backends = re.search(r"^    backend servers\n(    .*\n|\n)+", (ROOT / "docs/operations.md").read_text(), re.M)[0]
    return change(SHIPPED, (r"(?ms)^backend servers$.*(?=^# /metrics)", textwrap.dedent(backends)))


class Haproxy:
    """Runs `text`, but for where it listens, at which port servers do, and whom it asks for addresses."""

    def __init__(self, dns, port, text):
        self.grpc, self.stats = (f"127.0.0.1:{free_port()}" for _ in range(2))
        text = change(text, (r"bind :50051", f"bind {self.grpc}"), (r"bind :8404", f"bind {self.stats}"),
                      (r"parse-resolv-conf", f"nameserver test {dns.address}"), (r"(?<=\w):50051", f":{port}"))
        self.config = tempfile.NamedTemporaryFile("w", suffix=".cfg")
        self.config.write(text)
        self.config.flush()
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([HAPROXY, "-W", "-db", "-f", self.config.name],
                                        stdout=self.log, stderr=self.log)

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def lines(self):
        self.log.seek(0)
        return self.log.read()


class Service:
    """Servers on 127.77.0.N at one port, the DNS that names them, and HAProxy. One is called jobs and has the jobs."""

    def __init__(self, *names, config=SHIPPED):
        self.cleanup = contextlib.ExitStack()
        self.folder = self.cleanup.enter_context(tempfile.TemporaryDirectory())
        self.dns = balancer.Dns({"server": [], "jobs": []})
        self.port = free_port()
        self.servers = {}
        for name in names:
            self.add(name)
        self.haproxy = Haproxy(self.dns, self.port, config)
        self.cleanup.callback(self.haproxy.close)
        self.stats = balancer.Stats(self.haproxy.stats)
        wait_until(lambda: self.is_answering() and len(self.stats.up()) == len(self.dns.names["server"]))
        wait_until(lambda: "jobs" not in names or self.stats.state("jobs") == "UP")

    def add(self, name, config=balancer.SMALL):
        place = f"127.77.0.{len(self.servers) + 1}"
        more = ["--data-dir", self.folder] if name == "jobs" else []
        self.servers[name] = self.cleanup.enter_context(
            Server("--model", "identity", *more, config=config + DRAIN, listen=f"{place}:{self.port}"))
        self.dns.names["jobs" if name == "jobs" else "server"].append(place)

    def kill(self, name):
        self.servers[name].process.kill()
        self.servers[name].process.wait()

    def is_answering(self):
        try:
            return self.stats.rows()
        except OSError:
            return False

    def seen_as(self, name):
        """What HAProxy calls this server."""
        place = self.servers[name].address
        return next(row["svname"] for row in self.stats.rows().values() if row["addr"] == place)

    def answered(self, name):
        return self.stats.answered()[self.seen_as(name)]

    def connections(self, name):
        place, port = self.servers[name].address.split(":")
        here = "%08X:%04X" % (int.from_bytes(socket.inet_aton(place), "little"), int(port))
        lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()
        return sum(line.split()[1] == here and line.split()[3] == ESTABLISHED for line in lines)

    def metric(self, name):
        """Summed over the servers."""
        return sum(server.metrics()[name] for server in self.servers.values())

    def load(self, connections, **options):
        return balancer.Load(self.haproxy.grpc, connections, **options)

    def client(self):
        return Client(self.haproxy.grpc)


class RunningTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service("a", "b", "c", "jobs")
        cls.addClassCleanup(cls.service.cleanup.close)

    def check_spread(self, connections):
        before = [self.service.answered(name) for name in "abc"]
        with self.service.load(connections) as load:
            wait_until(lambda: load.answered >= 900, 60)
        self.assertEqual(load.failed, [])
        counts = [self.service.answered(name) - sooner for name, sooner in zip("abc", before)]
        mean = sum(counts) / 3
        self.assertLess(max(counts), 1.2 * mean, counts)
        self.assertGreater(min(counts), 0.8 * mean, counts)
        self.assertEqual(self.service.stats.answered()["jobs"], 0)

    def test_callers_of_one_connection_are_spread(self):
        self.check_spread(1)

    def test_callers_with_connections_of_their_own_are_spread(self):
        self.check_spread(balancer.CALLERS)

    def test_jobs_and_models_are_for_the_server_of_the_jobs(self):
        with self.service.client() as client:
            for service, method in (("TrainingService", "ListJobs"), ("ModelService", "ListModels")):
                name = f"deweather.v1.{service}"
                kind = client.pool.FindServiceByName(name).FindMethodByName(method).input_type.full_name
                for _ in range(6):
                    client.method(name, method)(client.message(kind)(), timeout=10)
        self.assertEqual(self.service.stats.rows("jobs")["jobs"]["hrsp_2xx"], "12")

    def test_each_caller_has_its_own_connection_to_a_server(self):
        with contextlib.ExitStack() as connected:
            callers = [connected.enter_context(self.service.client()) for _ in range(4)]
            for caller in callers * 6:
                caller.restore(encode(smooth(64, 64)))
            wait_until(lambda: self.service.connections("a") == 4)  # and a check of health, which comes and goes

    def test_cancelled_call_is_cancelled_on_the_server(self):
        cancelled = 'deweather_restore_requests_total{code="CANCELLED"}'
        with self.service.client() as client:
            call = client.start_restore(encode(smooth(4000, 4000), "JPEG"))
            wait_until(lambda: self.service.metric("deweather_inflight_requests") > 0)
            call.cancel()
            wait_until(lambda: self.service.metric(cancelled) == 1)

    def test_large_picture_passes(self):
        data = encode(smooth(3000, 3000), "BMP")  # 27 MB, there and back
        with self.service.client() as client:
            self.assertGreater(len(client.restore(data).image), 20_000_000)

    def test_prometheus_finds_its_metrics(self):
        with urllib.request.urlopen(f"http://{self.service.haproxy.stats}/metrics", timeout=10) as page:
            metrics = page.read().decode()
        self.assertIn('haproxy_server_status{proxy="servers",server="server1",state="UP"} 1', metrics)
        self.assertIn('haproxy_backend_status{proxy="servers",state="UP"} 1', metrics)
        self.assertIn('haproxy_backend_active_servers{proxy="servers"} 3', metrics)
        asked = set(re.findall(r"(?<!:)\bhaproxy_\w+", (DEPLOY / "alerts.yml").read_text()))
        self.assertEqual(asked - set(re.findall(r"^\w+", metrics, re.M)), set())


class ChangingTest(TestCase):
    def start(self, *names, **options):
        service = Service(*names, **options)
        self.addCleanup(service.cleanup.close)
        return service

    def test_killed_server_loses_the_calls_on_it_alone(self):
        service = self.start("a", "b", "c")
        lost = service.seen_as("b")
        with service.load(balancer.CALLERS) as load:
            wait_until(lambda: load.answered >= 50)
            service.kill("b")
            gone = time.monotonic()
            wait_until(lambda: service.stats.state(lost).startswith("DOWN"))
            after = load.answered
            wait_until(lambda: load.answered >= after + 50)
        self.assertEqual({error.code() for _, _, error in load.failed}, {grpc.StatusCode.UNAVAILABLE})
        late = [began for began, _, _ in load.failed if began > gone]
        self.assertLessEqual(len(late), 3)  # were being sent to it when it was found to be DOWN
        unanswered = service.stats.unanswered()
        self.assertEqual(sum(unanswered.values()), len(load.failed))
        self.assertGreaterEqual(unanswered[lost], len(load.failed) - len(late))

    def check_hung_server(self, connections):
        """Its calls end, and those that share a connection with them go on; files are larger than HAProxy's buffers."""
        service = self.start("a", "b", "c")
        hung = service.seen_as("b")
        with service.load(connections, size=1000, kind="BMP") as load:
            wait_until(lambda: load.answered >= balancer.CALLERS)
            service.servers["b"].process.send_signal(signal.SIGSTOP)
            try:
                wait_until(lambda: service.stats.state(hung).startswith("DOWN"))
                after = load.answered
                wait_until(lambda: load.answered >= after + 2 * balancer.CALLERS)
            finally:
                service.kill("b")  # or the callers, too, would wait
        codes = [error.code().name for _, _, error in load.failed]
        self.assertEqual(codes.count("UNAVAILABLE") + codes.count("UNKNOWN"), len(codes))
        self.assertLessEqual(len(codes), balancer.CALLERS + 3)  # each had one there; and as of a server that is killed
        unanswered = service.stats.unanswered()
        self.assertLessEqual(unanswered.pop(hung), len(codes))  # of the others the answer had begun
        self.assertEqual(set(unanswered.values()), {0}, unanswered)

    def test_hung_server_and_callers_of_one_connection(self):
        self.check_hung_server(1)

    def test_hung_server_and_callers_with_connections_of_their_own(self):
        self.check_hung_server(balancer.CALLERS)

    def test_slow_server_gets_fewer_calls(self):
        service = self.start("a")
        service.add("slow", balancer.SLOW)
        wait_until(lambda: len(service.stats.up()) == 2)
        before = service.answered("a")
        with service.load(balancer.CALLERS) as load:
            wait_until(lambda: load.answered >= 300)
        self.assertEqual(load.failed, [])
        self.assertGreater(service.answered("a") - before, 3 * service.answered("slow"))

    def test_reload_loses_no_call(self):
        service = self.start("a", "b")
        with service.load(balancer.CALLERS) as load:
            wait_until(lambda: load.answered >= 50)
            service.haproxy.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: service.is_answering() and sum(service.stats.answered().values()) >= 100)  # of the new one
        self.assertEqual(load.failed, [])

    def test_several_machines(self):
        service = self.start("a", "b", "jobs", config=change(several_machines(), (r"10\.0\.0\.", "127.77.0.")))
        self.assertEqual(service.stats.up(), ["a", "b"])
        wait_until(lambda: service.stats.state("jobs", "jobs") == "UP")
        with service.client() as client:
            client.restore(encode(smooth(64, 64)))

    def test_none_is_lost_while_servers_come_and_go(self):
        service = self.start("a", "b")
        drained, process = service.seen_as("b"), service.servers["b"].process
        with service.load(1) as load:
            service.add("c")
            wait_until(lambda: len(service.stats.up()) == 3, 20)
            wait_until(lambda: service.answered("c") >= 50)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: service.stats.state(drained) == "NOLB")
            self.assertIsNone(process.poll())
            self.assertEqual(process.wait(20), 0)
            wait_until(lambda: service.stats.state(drained).startswith("DOWN"))
        self.assertEqual(load.failed, [])
        self.assertEqual(set(service.stats.unanswered().values()), {0})
        self.assertIn("health says NOT_SERVING", service.haproxy.lines())

    def test_last_servers(self):
        service = self.start("a", "jobs")
        picture = encode(smooth(64, 64))
        with service.client() as client:
            client.restore(picture)
            service.kill("a")
            wait_until(lambda: service.stats.up() == [])
            client.restore(picture)
            self.assertEqual(service.stats.answered()["jobs"], 1)
            service.kill("jobs")
            wait_until(lambda: service.stats.state("jobs").startswith("DOWN"))
            error = self.fails_with("UNAVAILABLE", client.restore, picture)
            self.assertEqual(error.details(), "no server is there for the call")


def frame(kind, flags, stream, payload):
    """Of HTTP/2, RFC 9113 section 4.1."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(name, value):
    """Of HPACK, RFC 7541 section 6.2.2: a name of the static table or a new one, and a value."""
    texts = [value] if isinstance(name, bytes) else [name, value]
    index = name if isinstance(name, bytes) else b"\0"
    return index + b"".join(bytes([len(text)]) + text.encode() for text in texts)


def message(payload):
    """Of gRPC, not compressed."""
    return struct.pack("!BI", 0, len(payload)) + payload


class ConfigTest(unittest.TestCase):
    def check(self, *args):
        done = subprocess.run([HAPROXY, "-c", "-q", "-f", *args], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_haproxy_has_nothing_to_say_about_it(self):
        self.check(CONFIG)

    def test_nor_about_several_machines(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
            config.write(several_machines())
            config.flush()
            self.check(config.name)

    def test_check_of_health_says_what_its_comment_says(self):
        data, headers, settings = 0, 1, 4
        end_stream, end_headers = 1, 4
        post, http, path, authority, content_type = b"\x83", b"\x86", b"\x04", b"\x01", b"\x0f\x10"
        fields = (post + http + literal(path, "/grpc.health.v1.Health/Check") + literal(authority, "localhost")
                  + literal(content_type, "application/grpc") + literal("te", "trailers"))
        sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(settings, 0, 0, b""),
                frame(headers, end_headers, 1, fields), frame(data, end_stream, 1, message(b""))]
        serving = message(b"\x08\x01")
        self.assertEqual(re.findall(r"send-binary (\w+)", SHIPPED), [part.hex() for part in sent])
        self.assertEqual(re.findall(r"expect .*?\bbinary (\S+)", SHIPPED), [serving.hex()])
        self.assertEqual(re.findall(r"rbinary (\S+)", SHIPPED), [frame(data, 0, 1, serving).hex()[:-2] + ".."])

    def test_silent_calls_are_left_alone(self):
        for side in ("client", "server"):
            self.assertEqual(re.findall(rf"timeout {side} (\w+)", SHIPPED), ["7d"])
        self.assertRegex(SHIPPED, r"\n    option clitcpka\n")
        self.assertRegex(SHIPPED, r"\n    option srvtcpka\n")


if __name__ == "__main__":
    main()
