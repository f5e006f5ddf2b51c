"""Tokens and certificates are replaced while callers call: no caller with a good one notices.

DEWEATHER_ROTATIONS: how often (default: 10).
"""

import os
import socket
import ssl
import threading
import time

from access_test import MODEL, entry, read, replace
from certificates import Authority
from harness import SERVICE, Server, TestCase, encode, grpc, main, noise, wait_until

ROTATIONS = int(os.environ.get("DEWEATHER_ROTATIONS") or 10)
CALLERS = 8
CERTIFICATES = 4  # one after the other


class Caller(threading.Thread):
    """Restores one picture after the other, with the newest token, on a new connection every few calls."""

    CALLS_OF_A_CONNECTION = 5

    def __init__(self, rotation, request):
        super().__init__(daemon=True)
        self.rotation, self.request = rotation, request
        self.token_in_use = rotation.token
        self.calls, self.failures = 0, []

    def run(self):
        while not self.rotation.stop.is_set():
            with self.rotation.connect() as channel:
                restore = channel.unary_unary(f"/{SERVICE}/Restore")
                for _ in range(self.CALLS_OF_A_CONNECTION):
                    self.token_in_use = token = self.rotation.token
                    try:
                        restore(self.request, metadata=[("authorization", f"Bearer {token}")], timeout=30)
                    except grpc.RpcError as error:
                        self.failures.append(f"{token}: {error.code().name}: {error.details()}")
                    self.calls += 1


class RotationTest(TestCase):
    def setUp(self):
        super().setUp()
        self.stop = threading.Event()
        self.addCleanup(self.stop.set)
        self.tokens = self.folder / "tokens.textproto"
        self.authority = Authority(self.folder, "home")
        self.pairs = [self.authority.sign(f"server{i}") for i in range(CERTIFICATES)]
        self.callers_pair = [read(path) for path in self.authority.sign("caller")]
        self.certificate, self.key = self.folder / "in-use.pem", self.folder / "in-use.key"
        self.root = read(self.authority.file)
        self.token = "token-0"
        self.list_tokens(self.token)
        self.take_pair(0)
        self.server = self.enterContext(Server(
            "--model", "identity", "--tokens", str(self.tokens), "--tls-cert", str(self.certificate),
            "--tls-key", str(self.key), "--tls-client-ca", str(self.authority.file)))

    def list_tokens(self, *tokens):
        replace(self.tokens, "".join(entry("camera", token, {"infer"}) for token in tokens))

    def take_pair(self, number):
        """Key and certificate one after the other: for a moment they do not belong together."""
        certificate, key = self.pairs[number % CERTIFICATES]
        replace(self.key, key.read_text())
        replace(self.certificate, certificate.read_text())

    def connect(self):
        certificate, key = self.callers_pair
        return grpc.secure_channel(self.server.address, grpc.ssl_channel_credentials(self.root, key, certificate),
                                   [("grpc.use_local_subchannel_pool", 1)])

    def served_certificate(self):
        """Of a new connection, as PEM."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(self.folder / "caller.pem", self.folder / "caller.key")
        context.set_alpn_protocols(["h2"])
        host, _, port = self.server.address.rpartition(":")
        with socket.create_connection((host, int(port))) as plain, \
                context.wrap_socket(plain, server_hostname=host) as secure:
            return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True))

    def code(self, token):
        try:
            self.models(b"", metadata=[("authorization", f"Bearer {token}")], timeout=30)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def rotate(self, number, callers):
        """How long the old token and the old certificate were still taken, in seconds."""
        old, new = self.token, f"token-{number}"
        self.list_tokens(old, new)
        wait_until(lambda: self.code(new) == "OK", 10)
        self.token = new
        wait_until(lambda: all(caller.token_in_use == new for caller in callers), 60)
        stream = self.channel.stream_stream(f"/{SERVICE}/RestoreStream")(
            self.until_stopped(), metadata=[("authorization", f"Bearer {old}")])
        start = time.monotonic()
        self.list_tokens(new)
        self.take_pair(number)
        wait_until(lambda: self.code(old) == "UNAUTHENTICATED", 10)
        refused = time.monotonic() - start
        self.assertEqual(stream.code().name, "UNAUTHENTICATED")
        ended = time.monotonic() - start
        certificate = self.pairs[number % CERTIFICATES][0].read_text()
        wait_until(lambda: self.served_certificate() == certificate, 10)
        return refused, ended, time.monotonic() - start

    def until_stopped(self):
        self.stop.wait()
        return
        yield

    def test_no_valid_caller_notices(self):
        with Server("--model", "identity") as other, other.client() as client:
            request = client.request(encode(noise(64, 64))).SerializeToString()
        with self.connect() as self.channel:
            self.models = self.channel.unary_unary(f"/{MODEL}/ListModels")
            callers = [Caller(self, request) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            times = [self.rotate(number, callers) for number in range(1, ROTATIONS + 1)]
            self.stop.set()
            for caller in callers:
                caller.join()
        refused, ended, certificate = (max(column) for column in zip(*times))
        calls = sum(caller.calls for caller in callers)
        print(f"{ROTATIONS} rotations, {calls} calls; at most {refused:.2f} s until a revoked token was refused, "
              f"{ended:.2f} s until its stream had ended, {certificate:.2f} s until the new certificate was served")
        self.assertEqual([failure for caller in callers for failure in caller.failures], [])
        self.assertGreater(calls, 10 * ROTATIONS)
        self.assertLess(refused, 1)
        self.assertLess(ended, 1)


if __name__ == "__main__":
    main()
