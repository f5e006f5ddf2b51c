"""Connections that are too many, too slow or wrong, with TLS and without: a good caller is served beside them and after.
"""

import contextlib
import re
import resource
import shutil
import socket
import subprocess
import time

from certificates import Authority
from harness import Server, TestCase, encode, main, noise, program, wait_until

# What an HTTP/2 client says first: the preface, and SETTINGS without any.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HELLO = bytes.fromhex("16030102000100" "01fc0303")  # half of what a TLS client says first
PICTURE = encode(noise(32, 32))
CONFIG = "drain {{ delay {{}} }} limits {{ {} }}"


def connect(server):
    host, port = server.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def is_closed(connection):
    """Whether the server closes it, within the connection's patience; what it says before is read."""
    try:
        while connection.recv(4096):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


class Caller(TestCase):
    def assert_serves(self, server, credentials=None):
        with server.client(credentials=credentials) as client:
            self.assertTrue(client.restore(PICTURE).image)


class ConnectionsTest(Caller):
    def many(self, server, count):
        """So many connections that say the first words of HTTP/2; closed at the end of the test."""
        stack = self.enterContext(contextlib.ExitStack())
        made = []
        for _ in range(count):
            made.append(stack.enter_context(connect(server)))
            with contextlib.suppress(ConnectionError):
                made[-1].sendall(PREFACE)
        return made, stack

    def test_no_more_than_the_limit(self):
        with Server("--model", "identity", config=CONFIG.format("max_connections: 20")) as server:
            made, stack = self.many(server, 30)
            for connection in made[20:]:
                self.assertTrue(is_closed(connection))
            metrics = server.metrics()
            self.assertEqual(metrics["deweather_connections"], 20)
            self.assertEqual(metrics["deweather_connections_refused_total"], 10)
            with server.client() as client:
                self.fails_with("UNAVAILABLE", client.health)
            stack.close()
            wait_until(lambda: server.metrics()["deweather_connections"] == 0)
            self.assert_serves(server)

    def test_descriptors_that_run_out(self):
        command = ["bash", "-c", f'ulimit -n 300; exec "{program("deweather-server")}" "$@"', "server"]
        with Server("--model", "identity", command=command) as server:
            self.assertRegex(server.errors(), r"limits.max_connections is 4096; at most 44 are taken")
            made, stack = self.many(server, 400)
            self.assertTrue(is_closed(made[-1]))
            stack.close()
            wait_until(lambda: server.metrics()["deweather_connections"] == 0)
            self.assert_serves(server)

    def test_too_few_descriptors_are_an_error(self):
        done = subprocess.run(["bash", "-c", f'ulimit -n 200; exec "{program("deweather-server")}" --model identity'],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("this process may open 200 files", done.stderr)

    def test_ten_thousand_connections(self):
        need = 10_300
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < need:
            self.skipTest(f"{hard} descriptors allowed (ulimit -Hn); {need} needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with Server("--model", "identity", config=CONFIG.format("max_connections: 4096")) as server, \
                server.client() as client:
            client.restore(PICTURE)
            before = server.metrics()["process_resident_memory_bytes"]
            made, stack = self.many(server, 10_000)
            self.assertTrue(client.restore(PICTURE).image)
            # The kernel takes calls that the server has not seen; one that overflows its queue is tried again later.
            wait_until(lambda: server.metrics()["deweather_connections_refused_total"] == 10_000 - 4095)
            metrics = server.metrics()
            self.assertEqual(metrics["deweather_connections"], 4096)
            # 4096 connections, at most 64 KiB each.
            self.assertLess(metrics["process_resident_memory_bytes"] - before, 4096 * 65536)
            stack.close()
            wait_until(lambda: server.metrics()["deweather_connections"] == 1)
            self.assertTrue(client.restore(PICTURE).image)
            self.assert_serves(server)

    def test_who_says_nothing_is_cut_off(self):
        with Server("--model", "identity", config=CONFIG.format("max_handshake { seconds: 1 }")) as server:
            for first in (b"", PREFACE[:10], HELLO, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 100):
                with self.subTest(first), connect(server) as connection:
                    connection.sendall(first)
                    self.assertTrue(is_closed(connection))
            self.assert_serves(server)

    def test_a_connection_that_is_old_is_closed(self):
        limits = "max_connection_age { seconds: 1 } max_connection_grace { seconds: 1 }"
        with Server("--model", "identity", config=CONFIG.format(limits)) as server:
            with connect(server) as connection:
                connection.sendall(PREFACE)
                self.assertTrue(is_closed(connection))
            # A caller of gRPC takes another one, and sees nothing of it.
            with server.client() as client:
                end = time.monotonic() + 3
                while time.monotonic() < end:
                    client.restore(PICTURE)

    def test_headers_beyond_the_limit(self):
        with Server("--model", "identity", config=CONFIG.format("max_header_bytes: 4096")) as server:
            def call(size):
                with server.client() as client:
                    restore = client.method("deweather.v1.RestorationService", "Restore")
                    return restore(client.request(PICTURE), timeout=30, metadata=[("x-some", "x" * size)])
            error = self.fails_with("RESOURCE_EXHAUSTED", call, 5000)
            self.assertRegex(error.details(), "metadata size exceeds")
            self.assertTrue(call(1000).image)


class TlsTest(Caller):

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder)
        self.certificate, self.key = self.authority.sign()

    def flags(self):
        return ("--model", "identity", "--tls-cert", str(self.certificate), "--tls-key", str(self.key))

    def copy(self, certificate, key):
        """As the files that the server looks at, each at once."""
        for source, target in ((certificate, self.certificate), (key, self.key)):
            shutil.copy(source, self.folder / "next")
            (self.folder / "next").rename(target)

    def test_who_says_nothing_is_cut_off(self):
        with Server(*self.flags(), config=CONFIG.format("max_handshake { seconds: 1 }")) as server:
            for first in (b"", HELLO, PREFACE, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                with self.subTest(first), connect(server) as connection:
                    connection.sendall(first)
                    self.assertTrue(is_closed(connection))
            self.assert_serves(server, self.authority.trusted())

    def test_callers_with_the_wrong_idea(self):
        other = Authority(self.folder, "other")
        with Server(*self.flags()) as server:
            for credentials in (None, other.trusted()):
                with self.subTest(credentials), server.client(credentials=credentials) as client:
                    self.fails_with("UNAVAILABLE", client.health)
            self.assert_serves(server, self.authority.trusted())

    def test_callers_who_must_show_a_certificate(self):
        other = Authority(self.folder, "other")
        with Server(*self.flags(), "--tls-client-ca", str(self.authority.file)) as server:
            for own in ((), other.sign("stranger")):
                with self.subTest(own), server.client(credentials=self.authority.trusted(*own)) as client:
                    self.fails_with("UNAVAILABLE", client.health)
            self.assert_serves(server, self.authority.trusted(*self.authority.sign("caller")))

    def test_certificates_that_cannot_be_used_keep_it_from_starting(self):
        other_key = self.authority.sign("other")[1]
        torn = self.folder / "torn.pem"
        torn.write_bytes(self.certificate.read_bytes()[:200])
        cases = [(self.folder / "none.pem", self.key, r"tls.certificate_file.*none\.pem.*No such file"),
                 (torn, self.key, r"tls.certificate_file.*torn\.pem.*certificate 1 in it cannot be read"),
                 (self.certificate, other_key, r"tls.key_file.*other\.key.*not that of the first certificate"),
                 (self.certificate, self.certificate, r"tls.key_file.*no PEM private key in it")]
        for certificate, key, message in cases:
            for check in ((), ("--check-config",)):
                with self.subTest(message, check=check):
                    done = self.run_program("deweather-server", "--model", "identity", "--listen", "127.0.0.1:0",
                                            "--metrics-listen", "", "--tls-cert", certificate, "--tls-key", key,
                                            *check, status=1)
                    self.assertRegex(done.stderr, message)
        self.run_program("deweather-server", *self.flags(), "--check-config")

    def test_a_certificate_without_its_key_is_a_wrong_configuration(self):
        done = self.run_program("deweather-server", "--tls-cert", self.certificate, "--check-config", status=2)
        self.assertRegex(done.stderr, "tls.key_file")

    def expiry(self, server):
        return server.metrics()["deweather_tls_certificate_expiry_timestamp_seconds"]

    def test_certificates_change_while_it_serves(self):
        with Server(*self.flags()) as server, server.client(credentials=self.authority.trusted()) as client:
            client.restore(PICTURE)
            before = self.expiry(server)
            self.assertAlmostEqual(before, time.time() + 30 * 86400, delta=600)
            self.copy(*self.authority.sign("next", days=60))
            wait_until(lambda: self.expiry(server) > before)
            self.assert_serves(server, self.authority.trusted())
            self.assertTrue(client.restore(PICTURE).image)

    def test_certificates_that_vanish_or_tear_leave_the_old(self):
        with Server(*self.flags()) as server:
            before = self.expiry(server)
            self.assertEqual(server.metrics()["deweather_tls_files_ok"], 1)
            self.key.unlink()
            wait_until(lambda: re.search("certificates stay as they were.*server.key", server.errors()))
            self.assertEqual(server.metrics()["deweather_tls_files_ok"], 0)
            self.assert_serves(server, self.authority.trusted())
            certificate, key = self.authority.sign("next", days=60)
            torn = self.folder / "torn.pem"
            torn.write_bytes(certificate.read_bytes()[:300])
            self.copy(torn, key)
            wait_until(lambda: re.search("certificates stay as they were.*server.pem.*cannot be read", server.errors()))
            self.assert_serves(server, self.authority.trusted())
            self.assertEqual(self.expiry(server), before)
            self.copy(certificate, key)
            wait_until(lambda: self.expiry(server) > before)
            self.assertEqual(server.metrics()["deweather_tls_files_ok"], 1)
            self.assert_serves(server, self.authority.trusted())


if __name__ == "__main__":
    main()
