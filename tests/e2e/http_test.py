"""HTTP as the program serves it: to curl, to browsers, and to those who mean no good.

What every refusal says is in tests/http. Here the real server is seen to refuse, over plaintext and TLS, to drain and
to follow its files.
"""

import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time
import unittest

from access_test import entry, replace
from certificates import Authority
from harness import BIN, ROOT, SERVICE, Server, TestCase, decode, encode, main, noise, smooth, wait_until
from jobs_test import picture

PICTURE = encode(noise(40, 30))
CONNECT = {"Content-Type": "application/json"}
STREAM = {"Content-Type": "application/connect+json"}
TRAINING = "/deweather.v1.TrainingService"


class Wire:
    """A connection on which anything may be said; its TLS is that of `context`."""

    def __init__(self, server, context=None):
        host, port = server.http_address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def say(self, data):
        self.socket.sendall(data)

    def ask(self, method, target, body=b"", headers=None, length=None):
        """A request; `length` is what it says of its body, whatever that is."""
        fields = {"Host": "localhost", "Content-Length": len(body) if length is None else length, **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.say(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body)

    def reply(self, method="GET"):
        """Status, headers and body of the next one."""
        line = self.file.readline()
        if not line:
            raise ConnectionError("closed without a reply")
        headers = http.client.parse_headers(self.file)
        if headers["Transfer-Encoding"] == "chunked":
            return int(line.split()[1]), headers, b"".join(iter(self.chunk, b""))
        body = b"" if method == "HEAD" else self.file.read(int(headers["Content-Length"] or 0))
        return int(line.split()[1]), headers, body

    def chunk(self):
        data = self.file.read(int(self.file.readline(), 16))
        self.file.readline()
        return data

    def closed(self):
        """Whether nothing comes any more."""
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True


def call(server, method, target, body=b"", headers=None, context=None, **options):
    """One request on a connection of its own."""
    with Wire(server, context) as wire:
        wire.ask(method, target, body, headers, **options)
        return wire.reply(method)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def reason(body):
    return json.loads(body)["details"][0]["debug"]["reason"]


def series(text, name):
    return next(float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith(name + " "))


class HttpCase(TestCase):
    def refused(self, status, says, server, *args, **options):
        """Headers and body of a request that must be refused so, in Connect's form."""
        told, headers, body = call(server, *args, **options)
        self.assertEqual(told, status, body)
        error = json.loads(body)
        self.assertLessEqual({"code", "message"}, set(error))
        self.assertIn(says, error["message"])
        self.assertFalse([name for name in headers if name.lower().startswith("access-control")])
        return headers, error

    def assert_restores(self, server, **options):
        status, _, body = call(server, "POST", "/v1/restore", PICTURE, **options)
        self.assertEqual(status, 200, body)
        self.assertEqual(decode(body).shape, (30, 40, 3))


class RestoreTest(HttpCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server(http=True))
        cls.client = cls.enterClassContext(cls.server.client())

    def test_a_picture_equals_that_of_grpc_under_every_option(self):
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
        photo = encode(smooth(300, 200), "JPEG", quality=90, exif=exif)
        queries = [{}, {"model": "deweather-small"}, {"quality": 60}, {"strength": 0.25}, {"seed": 7},
                   {"priority": "background"}, {"metadata_policy": "strip"}, {"metadata_policy": "preserve"},
                   {"format": "webp", "quality": 80, "strength": 0.5}]
        queries += [{"format": name} for name in ("jpeg", "png", "tiff", "bmp")]
        for query in queries:
            options = {name: f"{name.upper()}_{value.upper()}" if name in ("format", "priority", "metadata_policy")
                       else value for name, value in query.items()}
            wanted = self.client.restore(photo, **options)
            target = "/v1/restore?" + "&".join(f"{name}={value}" for name, value in query.items())
            status, headers, body = call(self.server, "POST", target, photo)
            self.assertEqual(status, 200, body)
            self.assertEqual(body, wanted.image, query)
            self.assertEqual(headers["Content-Type"], f"image/{query.get('format', 'jpeg')}")
            self.assertEqual(headers["Deweather-Model"], f"{wanted.model.name}@{wanted.model.version}")
            self.assertRegex(headers["Server-Timing"], r"^decode;dur=[\d.]+, queue;.*total;dur=[\d.]+$")

    def test_an_error_is_that_of_grpc(self):
        for options, picture in (({"task": "rain"}, PICTURE), ({"model": "nobody"}, PICTURE), ({"quality": 101}, PICTURE),
                                 ({"strength": 2}, PICTURE), ({}, b"no picture"), ({}, b""), ({}, PICTURE[:100])):
            with self.assertRaises(Exception) as caught:
                self.client.restore(picture, **options)
            target = "/v1/restore?" + "&".join(f"{name}={value}" for name, value in options.items())
            code = caught.exception.code().name
            _, error = self.refused(404 if code == "NOT_FOUND" else 400, caught.exception.details(), self.server, "POST",
                                    target, picture)
            self.assertEqual(error["code"], code.lower())

    def test_what_is_asked_of_one_request_is_in_the_log(self):
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {"X-Request-Id": "camera-7", "Traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        _, reply, _ = call(self.server, "POST", "/v1/restore", PICTURE, headers)
        self.assertEqual(reply["X-Request-Id"], "camera-7")
        wait_until(lambda: '"camera-7"' in self.server.errors())
        line = next(json.loads(line) for line in self.server.errors().splitlines() if '"camera-7"' in line)
        self.assertEqual((line["code"], line["trace_id"]), ("OK", trace))
        self.assertRegex(line["caller"], r"^http:ipv4:127\.0\.0\.1:\d+$")

    def test_a_deadline_is_the_callers(self):
        big = encode(noise(1500, 1000), "BMP")
        status, _, body = call(self.server, "POST", "/v1/restore", big, {"Connect-Timeout-Ms": "1"})
        self.assertIn(status, (429, 504), body)  # refused as it could not be kept, or not kept


class ConnectTest(HttpCase):
    """The Connect protocol: calls as JSON, one reply or envelopes of many."""

    def setUp(self):
        super().setUp()
        for i in range(2):
            picture(self.folder / f"scenes/{i}.png", i)
        (self.folder / "data").mkdir()
        config = f'registered {{ name: "scenes" dir: "{self.folder / "scenes"}" }}'
        self.server = self.enterContext(Server(
            "--model", "identity", "--data-dir", str(self.folder / "data"), http=True,
            config=f"drain {{ delay {{}} }} training {{ max_running: 0 }} datasets {{ {config} }}"))

    def ask(self, path, message, headers=None):
        status, headers, body = call(self.server, "POST", path, json.dumps(message).encode(), headers or CONNECT)
        return status, json.loads(body)

    @contextlib.contextmanager
    def watch(self, job):
        """A connection on which the job's events come."""
        with Wire(self.server) as wire:
            message = json.dumps({"id": job}).encode()
            wire.ask("POST", f"{TRAINING}/WatchJob", struct.pack(">BI", 0, len(message)) + message, STREAM)
            self.assertEqual(wire.file.readline(), b"HTTP/1.1 200 OK\r\n")
            headers = http.client.parse_headers(wire.file)
            self.assertEqual(headers["Content-Type"], STREAM["Content-Type"])
            yield wire

    def envelope(self, wire):
        """Flags and content of one."""
        chunk = wire.chunk()
        flags, length = struct.unpack(">BI", chunk[:5])
        self.assertEqual(length, len(chunk) - 5)
        return flags, json.loads(chunk[5:])

    @unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
    def test_a_job_from_submit_to_its_end(self):
        config = {"name": "tiny", "model": {"kind": "KIND_FME", "embedDim": 16, "heads": 2, "headDim": 8, "channels": 4,
                                            "experts": 4, "kept": 2, "tilePx": 32, "overlapPx": 8},
                  "data": {"clean": [{"dir": "scenes", "weather": "rain"}], "cropPx": 32}, "batch": 2, "steps": 10}
        status, job = self.ask(f"{TRAINING}/SubmitJob", {"config": config})
        self.assertEqual(status, 200, job)
        with self.watch(job["id"]) as wire:
            flags, first = self.envelope(wire)
            self.assertEqual((flags, first["number"]), (0, "1"))
            status, cancelled = self.ask(f"{TRAINING}/CancelJob", {"id": job["id"]})
            self.assertEqual((status, cancelled["state"]), (200, "STATE_CANCELLED"))
            events = [first]
            while flags == 0:
                flags, event = self.envelope(wire)
                events.append(event)
            self.assertEqual((flags, events.pop()), (2, {}))
            self.assertIn("STATE_CANCELLED", json.dumps(events[-1]))
            self.assertEqual(wire.chunk(), b"")
            wire.ask("GET", "/healthz")  # the connection goes on
            self.assertEqual(wire.reply()[0], 200)

    def test_an_error_of_a_stream_is_its_last_envelope(self):
        with self.watch("nothing") as wire:
            flags, end = self.envelope(wire)
            self.assertEqual((flags, end["error"]["code"]), (2, "not_found"))

    def test_one_message_each_way(self):
        status, models = self.ask("/deweather.v1.ModelService/ListModels", {})
        self.assertEqual((status, models["models"][0]["name"]), (200, "identity"))
        status, error = self.ask("/deweather.v1.ModelService/GetModel", {"name": "nobody"})
        self.assertEqual((status, error["code"]), (404, "not_found"))
        self.assertEqual(error["details"][0]["type"], "google.rpc.ErrorInfo")

    def test_what_is_no_message(self):
        path = f"/{SERVICE}/Restore"
        for body, says in ((b"{", "is no deweather.v1.RestoreRequest"), (b'{"imag": ""}', "imag"), (b"\xff\xfe", "is no"),
                           (b"[" * 100_000, "is no"), (b'{"image": 5e400}', "is no"), (b'{"options": {"format": "GIF"}}', "GIF")):
            self.refused(400, says, self.server, "POST", path, body, CONNECT)
        self.refused(415, "must be application/json", self.server, "POST", path, b"{}", {"Content-Type": "text/plain"})
        self.refused(501, "takes a stream", self.server, "POST", f"/{SERVICE}/RestoreStream", b"", CONNECT)
        self.refused(501, "'gzip'", self.server, "POST", path, b"{}", {**CONNECT, "Content-Encoding": "gzip"})
        self.assert_restores(self.server)


class RefusalTest(HttpCase):
    """Requests that are wrong, and those that are slow."""

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--model", "identity", http=True, config="""drain { delay {} } limits {
            max_receive_bytes: 100000 max_header_bytes: 4096 max_handshake { seconds: 1 } max_stream_idle { seconds: 1 } }"""))

    def test_paths_methods_options_and_sizes(self):
        restore = ("POST", "/v1/restore")
        rows = [
            (400, "qualty is no option; there are model", "POST", "/v1/restore?qualty=5"),
            (400, "format stands twice", "POST", "/v1/restore?format=png&format=bmp"),
            (400, "format is 'gif'", "POST", "/v1/restore?format=gif"),
            (404, "there is no '/v1/nothing'", "GET", "/v1/nothing"),
            (404, "there is no '/console/../../etc/passwd'", "GET", "/console/../../etc/passwd"),
            (405, "the method is 'GET'; /v1/restore takes POST", "GET", "/v1/restore"),
            (413, "the body has 100001 bytes; of this request it may have 100000", *restore, bytes(100_001)),
            (431, "limits.max_header_bytes, 4096 bytes", "GET", "/healthz", b"", {"X": "x" * 5000}),
            (403, "a page of 'http://elsewhere.example'", *restore, b"", {"Origin": "http://elsewhere.example"}),
            (403, "a page of 'null'", *restore, b"", {"Origin": "null"}),
            (403, "without tokens and TLS this server must be called by an address", *restore, b"", {"Host": "elsewhere.example"}),
            (400, "one Host header", "GET", "/healthz", b"", {"Host": ""})]
        for status, says, *request in rows:
            with self.subTest(says):
                headers, _ = self.refused(status, says, self.server, *request)
                if status == 405:
                    self.assertEqual(headers["Allow"], "POST")
        self.assert_restores(self.server, headers={"Origin": "http://localhost"})

    def test_who_is_refused_is_in_the_log(self):
        call(self.server, "POST", "/v1/restore?qualty=5", headers={"X-Request-Id": "camera-8"})
        wait_until(lambda: '"camera-8"' in self.server.errors())
        line = next(json.loads(line) for line in self.server.errors().splitlines() if '"camera-8"' in line)
        self.assertEqual((line["method"], line["code"], line["reason"]), ("POST /v1/restore", "INVALID_ARGUMENT", "INVALID_OPTION"))
        self.assertRegex(line["caller"], r"^http:ipv4:127\.0\.0\.1:\d+$")

    def test_who_sends_slowly(self):
        with Wire(self.server) as silent, Wire(self.server) as head, Wire(self.server) as trickle, \
                Wire(self.server) as body:
            head.say(b"GET /healthz HTTP/1.1\r\nHost: loc")
            body.ask("POST", "/v1/restore", b"x" * 1000, length=50_000)
            with contextlib.suppress(ConnectionError):  # more comes all the time, and does not help
                while True:
                    trickle.say(b"G")
                    self.assertEqual(call(self.server, "GET", "/healthz")[0], 200)
            self.assertTrue(trickle.closed())
            status, _, told = body.reply()
            self.assertEqual((status, reason(told)), (408, "STREAM_IDLE"))
            for wire in (silent, head, body):
                self.assertTrue(wire.closed())
        self.assert_restores(self.server)

    def test_chunks_that_are_too_many(self):
        with Wire(self.server) as wire:
            wire.say(b"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(30):
                    wire.say(b"1000\r\n" + bytes(4096) + b"\r\n")
            status, _, body = wire.reply()
            self.assertEqual(status, 413, body)
            self.assertIn("100000", json.loads(body)["message"])
            self.assertTrue(wire.closed())

    def test_one_request_after_another_and_before_its_reply(self):
        with Wire(self.server) as wire:
            for width in range(20, 30):
                wire.ask("POST", "/v1/restore", encode(noise(width, 10)))
                self.assertEqual(decode(wire.reply()[2]).shape, (10, width, 3))
            for width in range(20, 30):
                wire.ask("POST", "/v1/restore", encode(noise(width, 10)))
                wire.ask("GET", "/nothing")
                wire.ask("HEAD", "/readyz")
            for width in range(20, 30):
                self.assertEqual(decode(wire.reply()[2]).shape, (10, width, 3))
                self.assertEqual(wire.reply()[0], 404)
                self.assertEqual(wire.reply("HEAD")[0], 200)


class LoadTest(HttpCase):
    """What others keep one from."""

    def test_a_quota_is_told_and_who_leaves_makes_room(self):
        config = "drain { delay {} } admission { max_bytes: 1048576 }"
        with Server(http=True, config=config) as server:
            with Wire(server) as other:
                other.ask("POST", "/v1/restore", encode(smooth(3000, 2000), "JPEG"))
                wait_until(lambda: server.metrics()["deweather_inflight_requests"] == 1)
                headers, error = self.refused(429, "", server, "POST", "/v1/restore", encode(smooth(600, 400)))
                self.assertEqual(error["code"], "resource_exhausted")
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            # He did not wait for his picture, which would take much longer.
            wait_until(lambda: server.metrics()["deweather_inflight_requests"] == 0)
            self.assertEqual(server.metrics()['deweather_restore_requests_total{code="CANCELLED"}'], 1)
            self.assert_restores(server)

    def test_bodies_of_all_have_a_limit(self):
        config = "drain { delay {} } limits { max_transport_bytes: 67108864 }"
        with Server("--model", "identity", http=True, config=config) as server:
            with Wire(server) as other:
                other.ask("POST", "/v1/restore", bytes(60 << 20), length=61 << 20)
                wait_until(lambda: server.metrics()["deweather_http_body_bytes"] == 60 << 20)
                headers, error = self.refused(503, "limits.max_transport_bytes", server, "POST", "/v1/restore", bytes(8 << 20))
                self.assertEqual((error["code"], headers["Retry-After"]), ("unavailable", "1"))
                self.assert_restores(server)
            wait_until(lambda: server.metrics()["deweather_http_body_bytes"] == 0)

    def test_a_large_message_holds_up_no_short_request(self):
        """Each of these is read for a second or so, and there are more of them than threads that serve HTTP."""
        values = ",".join(["0.123456789"] * (3 << 20))
        tensor = f'{{"name": "pictures", "datatype": "FP32", "shape": [1, 3, 1024, 1024], "data": [{values}]}}'
        body = f'{{"inputs": [{tensor}]}}'.encode()
        readers = 2 * os.cpu_count()
        with Server("--model", "identity", http=True, config="drain { delay {} }") as server, contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(server)) for _ in range(readers)]
            for wire in wires:
                wire.ask("POST", "/v2/models/identity/infer", body[:-1], length=len(body))
            wait_until(lambda: server.metrics()["deweather_http_body_bytes"] >= readers * (len(body) - 1))
            begin = time.monotonic()
            for wire in wires:
                wire.say(body[-1:])
            slowest = 0
            while not any(select.select([wire.socket for wire in wires], [], [], 0)[0]):
                asked = time.monotonic()
                self.assertEqual(call(server, "GET", "/healthz")[0], 200)
                slowest = max(slowest, time.monotonic() - asked)
            first = time.monotonic() - begin
            for wire in wires:
                status, _, reply = wire.reply()
                self.assertIn(status, (200, 400, 429, 503), reply[:500])
            self.assertLess(slowest, first / 2)

    def test_connections_have_a_limit(self):
        config = "drain { delay {} } limits { max_connections: 10 }"
        with Server("--model", "identity", http=True, config=config) as server, contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(server)) for _ in range(15)]
            for wire in wires[10:]:
                self.assertTrue(wire.closed())
            metrics = server.metrics()
            self.assertEqual(metrics["deweather_http_connections"], 10)
            self.assertEqual(metrics["deweather_http_connections_refused_total"], 5)
            with server.client() as client:  # those of gRPC are others
                client.restore(PICTURE)
            stack.close()
            wait_until(lambda: server.metrics()["deweather_http_connections"] == 0)
            self.assert_restores(server)


class TokenTest(HttpCase):
    def setUp(self):
        super().setUp()
        self.tokens = self.folder / "tokens.textproto"
        self.list_tokens("infer", "admin")
        self.server = self.enterContext(Server("--model", "identity", "--tokens", str(self.tokens), http=True))

    def list_tokens(self, *groups):
        replace(self.tokens, "".join(entry(group, f"token-{group}", {group}) for group in groups))

    def test_who_may_not_is_refused_before_the_body(self):
        rows = [({}, 401, "TOKEN_MISSING"), (bearer("nobody"), 401, "TOKEN_UNKNOWN"),
                (bearer("token-admin"), 403, "WRONG_GROUP"), ({"Authorization": "Basic YTpi"}, 401, "TOKEN_MISSING")]
        for path in ("/v1/restore", f"/{SERVICE}/Restore"):
            for headers, status, why in rows:
                with self.subTest((path, why)), Wire(self.server) as wire:
                    wire.ask("POST", path, headers={**CONNECT, **headers}, length=60 << 20)  # and nothing follows
                    told, headers, body = wire.reply()
                    self.assertEqual((told, reason(body)), (status, why))
                    self.assertEqual(headers["WWW-Authenticate"], "Bearer" if status == 401 else None)
                    self.assertTrue(wire.closed())
        self.assertEqual(self.server.metrics()["deweather_http_body_bytes"], 0)
        self.assertNotIn("token-admin", self.server.errors())
        # Whoever has a token calls the server by any name that it has; a page of elsewhere does not.
        self.assert_restores(self.server, headers={**bearer("token-infer"), "Host": "photos.example"})
        foreign = {**bearer("token-infer"), "Origin": "https://elsewhere.example"}
        self.refused(403, "takes requests from its own page alone", self.server, "POST", "/v1/restore", PICTURE, foreign)

    def test_metrics_want_any_token_and_health_none(self):
        for path, without in (("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/", 200)):
            self.assertEqual(call(self.server, "GET", path)[0], without, path)
            self.assertEqual(call(self.server, "GET", path, headers=bearer("token-admin"))[0], 200, path)

    def test_a_token_that_goes_is_refused(self):
        with Wire(self.server) as wire:
            wire.ask("POST", "/v1/restore", PICTURE, bearer("token-infer"))
            self.assertEqual(wire.reply()[0], 200)
            self.list_tokens("admin")
            wait_until(lambda: "1 tokens of" in self.server.errors(), 10)
            wire.ask("POST", "/v1/restore", PICTURE, bearer("token-infer"))
            self.assertEqual(wire.reply()[0], 401)


class DocumentTest(HttpCase):
    """The commands of docs/http.md, as printed but for ports."""

    def setUp(self):
        super().setUp()
        if shutil.which("curl") is None:
            self.skipTest("no curl")
        text = (ROOT / "docs/http.md").read_text()
        self.blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.photo = encode(smooth(120, 80), "JPEG", quality=90)
        (self.folder / "rainy.jpg").write_bytes(self.photo)

    def run_block(self, block, **environment):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=self.folder, capture_output=True, text=True, timeout=120,
                              check=False, env={**os.environ, "no_proxy": "*", **environment})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_picture_and_calls_as_json(self):
        with Server(http=True) as server, server.client() as client:
            picture, calls = (self.run_block(block, DEWEATHER_HTTP=f"http://{server.http_address}")
                              for block in self.blocks[:2])
            self.assertEqual((self.folder / "restored.jpg").read_bytes(), client.restore(self.photo).image)
            self.assertTrue((self.folder / "restored.webp").read_bytes().startswith(b"RIFF"))
            for name in ("deweather-model", "server-timing", "x-request-id"):
                self.assertIn(name, picture.lower())
            self.assertIn("deweather-small", calls)
            self.assertIn("uncertaintyMap", json.loads((self.folder / "reply.json").read_text()))

    def test_tls_and_a_token(self):
        authority = Authority(self.folder, "ca")
        certificate, key = authority.sign()
        replace(self.folder / "tokens.textproto", entry("camera", "token-camera", {"infer"}))
        (self.folder / "camera.token").write_text("token-camera\n")
        flags = ("--tokens", str(self.folder / "tokens.textproto"), "--tls-cert", str(certificate), "--tls-key", str(key))
        with Server("--model", "identity", *flags, http=True) as server:
            self.assertIn("localhost:8443", self.blocks[2])
            port = server.http_address.rsplit(":", 1)[1]
            self.run_block(self.blocks[2].replace("localhost:8443", f"localhost:{port}"))
        self.assertEqual(decode((self.folder / "restored.jpg").read_bytes()).shape, (80, 120, 3))


class TlsTest(HttpCase):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder)
        self.certificate, self.key = self.authority.sign()

    def serve(self, *flags):
        return Server("--model", "identity", "--tls-cert", str(self.certificate), "--tls-key", str(self.key), *flags,
                      http=True)

    def context(self, certificate=None, key=None, authority=None):
        context = ssl.create_default_context(cafile=str((authority or self.authority).file))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context

    def test_https_alone_is_served(self):
        with self.serve() as server:
            self.assert_restores(server, context=self.context())
            with self.assertRaises(ssl.SSLCertVerificationError):
                Wire(server, self.context(authority=Authority(self.folder, "other")))
            with Wire(server) as plain:
                plain.ask("GET", "/healthz")
                self.assertTrue(plain.closed())
            origin = {"Origin": "https://localhost", "Host": "localhost"}
            self.assert_restores(server, context=self.context(), headers=origin)

    def test_callers_who_must_show_a_certificate(self):
        stranger = Authority(self.folder, "other").sign("stranger")
        with self.serve("--tls-client-ca", str(self.authority.file)) as server:
            for own in ((), stranger):
                with self.subTest(own), self.assertRaises((ssl.SSLError, ConnectionError)):
                    call(server, "GET", "/healthz", context=self.context(*own))
            self.assert_restores(server, context=self.context(*self.authority.sign("caller")))

    def test_certificates_change_while_it_serves(self):
        with self.serve() as server, Wire(server, self.context()) as old:
            before = old.socket.getpeercert()["serialNumber"]
            for source, target in zip(self.authority.sign("next"), (self.certificate, self.key)):
                shutil.copy(source, self.folder / "copy")
                os.replace(self.folder / "copy", target)

            def serial():
                with Wire(server, self.context()) as wire:
                    return wire.socket.getpeercert()["serialNumber"]
            wait_until(lambda: serial() != before)
            old.ask("POST", "/v1/restore", PICTURE)  # what is open goes on
            self.assertEqual(old.reply()[0], 200)
            self.assert_restores(server, context=self.context())


class DrainTest(HttpCase):
    def test_balancers_are_told_first_and_requests_are_still_served(self):
        with Server("--model", "identity", http=True, config="drain { delay { seconds: 60 } }") as server:
            self.assertEqual(call(server, "GET", "/readyz")[0], 200)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: call(server, "GET", "/readyz")[0] == 503)
            _, headers, body = call(server, "GET", "/readyz")
            self.assertEqual((headers["Connection"], body), ("close", b"NOT_SERVING\n"))
            self.assertEqual(call(server, "GET", "/healthz")[0], 200)
            self.assert_restores(server)
            self.assertEqual(server.stop(), -signal.SIGTERM)

    def test_what_is_in_flight_is_finished(self):
        with Server("--model", "identity", http=True) as server:
            pixels = smooth(4000, 3000)
            with Wire(server) as busy, Wire(server) as idle, Wire(server) as half:
                idle.ask("GET", "/healthz")
                self.assertEqual(idle.reply()[0], 200)
                half.ask("POST", "/v1/restore", PICTURE[:100], length=len(PICTURE))
                busy.ask("POST", "/v1/restore", encode(pixels, compress_level=1))
                wait_until(lambda: server.metrics()["deweather_inflight_requests"] > 0)
                server.process.send_signal(signal.SIGTERM)
                self.assertTrue(idle.closed())
                half.say(PICTURE[100:])  # it comes too late
                status, headers, body = half.reply()
                self.assertEqual((status, reason(body), headers["Connection"]), (503, "DRAINING", "close"))
                status, headers, body = busy.reply()
                self.assertEqual((status, headers["Connection"]), (200, "close"))
                self.assertTrue((decode(body) == pixels).all())
                self.assertTrue(busy.closed())
                self.assertEqual(server.process.wait(30), 0, server.errors())


if __name__ == "__main__":
    main()
