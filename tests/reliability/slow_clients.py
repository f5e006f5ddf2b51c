"""Callers who are slow on purpose, beside good ones: thousands that say nothing, hundreds that send a byte a second, dozens
that never read their replies.

Rounds alternate: good callers alone, then beside the slow ones, who leave again. The slow ones speak HTTP/2 by hand, each on a
connection of its own.

Bounds: good callers' p99 beside them is at most 1.5 times that alone; memory that the slow ones cost is at most --most-mib;
once they have left, no connection, no file and next to no memory of theirs is left; every good call is answered.
"""

import contextlib
import pathlib
import resource
import socket
import ssl
import sys
import tempfile
import threading
import time

from measure import (Report, Sampler, arguments, bench, encode, np, open_files, percentile, real_server,
                     settle, skip)

from certificates import Authority

MIB = 1 << 20
HEADERS, DATA, SETTINGS, WINDOW_UPDATE = 1, 0, 4, 8
END_HEADERS, END_STREAM = 4, 1
METHOD = "/deweather.v1.RestorationService/Restore"
UNREAD_REQUESTS = 4  # of each caller who does not read


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def first_words(window=65535):
    """Preface, and room for what the server sends: of each stream and of all together."""
    settings = (4).to_bytes(2, "big") + window.to_bytes(4, "big")
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))


def call_headers(stream):
    fields = {":method": "POST", ":scheme": "http", ":path": METHOD, ":authority": "localhost",
              "content-type": "application/grpc", "te": "trailers"}
    block = b"".join(b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode()
                     for k, v in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


class SlowCallers:
    """Their connections; a thread sends what comes a byte a second, and all requests of those who do not read."""

    def __init__(self, server, flags, trust, request):
        self.address = server.address.rsplit(":", 1)
        self.context = None
        if trust:
            self.context = ssl.create_default_context(cafile=str(trust))
            self.context.set_alpn_protocols(["h2"])
        self.open = []
        self.trickling = [self.connect(first_words() + call_headers(1) + (16384).to_bytes(3, "big")
                                       + bytes([DATA, 0]) + (1).to_bytes(4, "big") + b"\0\0\0\x30\0")
                          for _ in range(flags.trickling)]
        self.unread = [self.connect(first_words((1 << 31) - 1), buffer=4096) for _ in range(flags.unread)]
        self.idle = [self.connect(first_words()) for _ in range(flags.idle)]
        self.message = b"\0" + len(request).to_bytes(4, "big") + request
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def connect(self, words, buffer=None):
        connection = socket.socket()
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(30)
        connection.connect((self.address[0], int(self.address[1])))
        if self.context:
            connection = self.context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(words)
        self.open.append(connection)
        return connection

    def run(self):
        second = 0
        while not self.end.is_set():
            if second < UNREAD_REQUESTS:
                stream = 2 * second + 1
                self.send(self.unread, call_headers(stream) + frame(DATA, END_STREAM, stream, self.message))
            self.send(self.trickling, b"x")
            second += 1
            self.end.wait(1)

    @staticmethod
    def send(connections, words):
        for connection in connections:
            with contextlib.suppress(OSError):  # the server may have cut it off
                connection.sendall(words)

    def leave(self):
        self.end.set()
        self.thread.join()
        for connection in self.open:
            connection.close()


def raise_file_limit(need):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < need:
        skip(f"{hard} descriptors allowed (ulimit -Hn); {need} needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))


class Figures:
    """Of all rounds."""

    def __init__(self):
        self.alone, self.beside, self.ratios = [], [], []
        self.errors = self.cost = 0
        self.left = []

    def add(self, alone, beside):
        self.alone.append(alone["latency_ms"]["p99"])
        self.beside.append(beside["latency_ms"]["p99"])
        self.ratios.append(self.beside[-1] / self.alone[-1])
        self.errors += alone["errors"] + beside["errors"]


def load(server, flags, trust):
    tls = ("--tls-ca", trust, "--tls-name", "localhost") if trust else ()
    return bench(server, "--mix", "256x256", "--concurrency", flags.callers, "--connections", flags.callers,
                 "--duration", f"{flags.seconds}s", "--warmup", "1s", *tls, core=flags.load_core)


def one_round(server, flags, trust, request, figures):
    alone = load(server, flags, trust)
    before = {"connections": server.metrics()["deweather_connections"], "files": open_files(server),
              "resident": server.metrics()["process_resident_memory_bytes"]}
    slow = SlowCallers(server, flags, trust, request)
    try:
        with Sampler(server, 0.5) as memory:
            figures.add(alone, load(server, flags, trust))
        figures.cost = max(figures.cost, memory.most() - before["resident"])
    finally:
        slow.leave()
    gone = settle(lambda: server.metrics()["deweather_connections"] <= before["connections"]
                  and open_files(server) <= before["files"])
    figures.left.append(gone)
    return before


def main():
    flags = arguments(__doc__, idle=2000, trickling=200, unread=50, callers=4, seconds=10, rounds=5, tls=0,
                      largest_ratio=1.5, most_mib=256, server_core=0, load_core=1)
    raise_file_limit(flags.idle + flags.trickling + flags.unread + 256)
    report = Report("slow_clients")
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        own, trust = (), None
        if flags.tls:
            authority = Authority(pathlib.Path(folder))
            certificate, key = authority.sign()
            own, trust = ("--tls-cert", str(certificate), "--tls-key", str(key)), authority.file
        with real_server("--model", "identity", *own, core=flags.server_core) as server:
            request = picture_request(server, authority.trusted() if flags.tls else None)
            load(server, flags, trust)  # the allocator's first pages
            first = one_round(server, flags, trust, request, figures)["resident"]
            for _ in range(flags.rounds - 1):
                one_round(server, flags, trust, request, figures)
            settled = settle(lambda: server.metrics()["process_resident_memory_bytes"] <= first + 32 * MIB)
            last = server.metrics()["process_resident_memory_bytes"]
            exit_status = server.stop()
    report.figures(tls=bool(flags.tls), slow=flags.idle + flags.trickling + flags.unread, p99_alone_ms=figures.alone,
                   p99_beside_ms=figures.beside, ratios=figures.ratios, cost_mib=figures.cost / MIB,
                   left_mib=(last - first) / MIB)
    report.at_most("p99 beside slow callers, of that alone, median of the rounds",
                   percentile(figures.ratios, 0.5), flags.largest_ratio)
    report.at_most("memory of the slow callers, MiB", figures.cost / MIB, flags.most_mib)
    report.at_least("rounds after which no connection and no file was left", sum(figures.left), flags.rounds)
    report.at_least("memory within 32 MiB of that before them", int(settled), 1)
    report.at_most("good calls that failed", figures.errors, 0)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


def picture_request(server, credentials):
    """A small message whose reply is 196 KB."""
    with server.client(credentials=credentials) as client:
        flat = encode(np.zeros((256, 256, 3), np.uint8))
        return client.request(flat, format=5).SerializeToString()  # BMP


if __name__ == "__main__":
    sys.exit(main())
