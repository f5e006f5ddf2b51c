"""A hundred thousand HTTP requests that no good client makes, each on a connection of its own.

Requests for every part of the API are cut, changed, repeated and put together anew: methods, targets, queries, headers
that contradict each other, lengths and chunks that lie, bodies that are no picture, no JSON and no envelope; some are
the first words of another protocol. Their callers wait for the reply, or leave. A good caller checks its pictures
meanwhile.

Bounds: as malformed.py's. What is answered has a status that says what was wrong: never 500.
"""

import collections
import contextlib
import json
import random
import re
import socket
import struct
import threading

from kserve_malformed import PATIENT_S, run
from measure import arguments

from harness import encode, noise

GLANCE_S = 0.05  # for a reply, before the caller says that nothing follows
SANE = {100, 200, 400, 403, 404, 405, 408, 413, 415, 429, 431, 501, 503, 504, 505}
HEADERS = (
    "Content-Length: 0", "Content-Length: 18446744073709551615", "Content-Length: 99999999999999999999", "Content-Length: -1",
    "Content-Length: 5, 5", "Content-Length: 1000000", "Content-Length: 2000000", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: x",
    "Expect: 100-continue", "Expect: 200-ok", "Connection: close", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    "Host: elsewhere.example", "Host: [::1", "Host: :", "Host:", "Origin: null", "Origin: http://127.0.0.1", "Origin: http://a\0",
    "Authorization: Bearer x", "Authorization:", "X-Request-Id: \xff", "X-Request-Id: " + "i" * 200, "Traceparent: 00-0-0-0",
    "Connect-Timeout-Ms: 1", "Connect-Timeout-Ms: 99999999999999", "Connect-Protocol-Version: 9", "Content-Encoding: gzip",
    "Content-Type: application/json", "Content-Type: application/proto", "Content-Type: application/connect+proto",
    "Content-Type: multipart/form-data; boundary=x", "Inference-Header-Content-Length: 4", "X: " + "x" * 20_000, " folded: x",
    "no colon", "X: a\rb", "X: a\nb", "Deweather-Peer: http:a", "Grpc-Timeout: 1n", ":path: /")
QUERIES = ("", "?", "?format=png&quality=5", "?format=png&format=png", "?%", "?%zz=1", "?a", "?=", "?model=%00", "?seed=1e400",
           "?strength=nan", "?strength=-0", "?task=" + "t" * 3000, "?quality=2147483648", "?a=b&" * 100)
PATHS = ("/v1/restore", "/", "/healthz", "/readyz", "/metrics", "/console/main.js", "/console/../main.js", "//v1/restore", "/v1/restore/",
         "/deweather.v1.RestorationService/Restore", "/deweather.v1.RestorationService/RestoreStream",
         "/deweather.v1.TrainingService/WatchJob", "/deweather.v1.TrainingService/SubmitJob",
         "/deweather.v1.ModelService/PromoteModel", "/deweather.v1.Nothing/Nothing", "/v2/models/identity/infer",
         "/grpc.health.v1.Health/Check", "*", "http://localhost/healthz", "", "/%2e%2e/%2e%2e/etc/passwd", "/\xff", "/" + "p" * 5000)
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "get", "", "G\0T", "M" * 300)
FOREIGN = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"SSH-2.0-x\r\n",
           b"\r\n" * 1000, b"GET /\r\n", b"\0" * 5000, b"")


def message(rng, picture):
    """What may be in a body."""
    kind = rng.randrange(7)
    if kind < 3:
        return picture
    if kind == 3:
        return json.dumps({"image": "AAAA" * rng.randrange(100), "options": {"format": rng.choice((0, 1, "GIF", None, [], {}))}}).encode()
    if kind == 4:
        return b"[" * rng.choice((1, 100, 100_000))
    if kind == 5:
        body = json.dumps({"id": "x" * rng.choice((0, 5, 500))}).encode()
        return struct.pack(">BI", rng.choice((0, 0, 1, 2, 255)), rng.choice((len(body), 0, 1 << 31))) + body
    return rng.randbytes(rng.choice((0, 1, 100, 10_000)))


def chunked(rng, body):
    """The body in chunks, some of which are of another length than they say."""
    pieces = []
    while body:
        piece, body = body[:4000], body[4000:]
        size = len(piece) if rng.random() < 0.9 else rng.choice((0, 1, len(piece) + 1, 1 << 31, 1 << 64))
        pieces.append(b"%x%s\r\n%s\r\n" % (size, rng.choice((b"", b"", b";x=1", b";" + b"x" * 3000)), piece))
    return b"".join(pieces) + rng.choice((b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"0\r\n", b"", b"-1\r\n\r\n"))


def head(rng, body):
    """The first words of a request, and whether its body comes in chunks."""
    good = rng.random() < 0.6
    method = "POST" if good else rng.choice(METHODS)
    path = PATHS[0] if good and rng.random() < 0.5 else rng.choice(PATHS)
    target = path + (rng.choice(QUERIES) if rng.random() < 0.4 else "")
    fields = ["Host: localhost"] if rng.random() < 0.95 else []
    in_chunks = rng.random() < 0.3
    fields.append("Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}")
    fields += rng.choices(HEADERS, k=rng.choice((0, 0, 0, 1, 1, 5)))
    rng.shuffle(fields)
    version = "HTTP/1.1" if rng.random() < 0.9 else rng.choice(("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", ""))
    lines = [f"{method} {target} {version}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1"), in_chunks


def damaged(rng, data):
    """Some bytes are cut, turned over, doubled or moved."""
    kind = rng.randrange(4)
    at = rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.randbytes(1) + data[at + 1:]
    if kind == 2:
        return data[:at] + data[at:at + rng.choice((1, 30, 3000))] * 2 + data[at:]
    return data[:at] + data[at + rng.choice((1, 5, 50)):]


def request(rng, picture):
    if rng.random() < 0.05:
        return rng.choice(FOREIGN)
    parts = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        body = message(rng, picture)
        first, in_chunks = head(rng, body)
        parts.append(first + (chunked(rng, body) if in_chunks else body))
    data = b"".join(parts)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        data = damaged(rng, data)
    return data


class RawCalls:
    """What becomes of requests on connections of their own."""

    def __init__(self, _client):
        self.picture = encode(noise(8, 8))
        self.codes = collections.defaultdict(collections.Counter)
        self.faults = []
        self._lock = threading.Lock()

    def run(self, server, numbers, seed):
        for number in numbers:
            rng = random.Random(f"{seed} {number}")
            data = request(rng, self.picture)
            told = self._told(server, data, rng.random() < 0.7)
            self._count(number, data, told)

    @staticmethod
    def _told(server, data, waits):
        """All that comes back; none if the server never closes."""
        host, port = server.http_address.rsplit(":", 1)
        told = b""
        with socket.create_connection((host, int(port)), timeout=PATIENT_S) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                if waits:
                    with contextlib.suppress(TimeoutError):
                        connection.settimeout(GLANCE_S)
                        told = connection.recv(65536)
                connection.settimeout(PATIENT_S)
                connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    told += more
            return told

    def _count(self, number, data, told):
        statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", told)]
        sane = set(statuses) <= SANE and (not told or told.startswith(b"HTTP/1.1 "))
        with self._lock:
            self.codes["first" if statuses else "none"][str(statuses[0] if statuses else "-")] += 1
            if not sane:
                self.faults.append(f"{number}: {data[:100]!r}: {told[:300]!r}")


if __name__ == "__main__":
    run("malformed_http", arguments(__doc__, count=100_000, callers=12, seed=1), RawCalls, http=True)
