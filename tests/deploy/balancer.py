"""Callers behind HAProxy, what it counts of each server, and a DNS that says which servers there are."""

import csv
import io
import pathlib
import socket
import struct
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import SERVICE, Client, encode, grpc, smooth  # noqa: E402

CALLERS = 16

# Configuration of servers of which several fit a small machine. A call waits a while for others, idly: so servers are
# equally fast, whatever else the machine does.
SMALL = """
threads { model: 1 workers: 2 }
batching { max_delay { nanos: 100000000 } }
"""
# Configuration of a server that is slower than those: no batch of its is ever full.
SLOW = SMALL.replace("nanos: 100000000", "seconds: 1").replace("batching {", "batching { max_tiles: 32")


class Load:
    """Callers that each send the next picture when the last is answered; over one connection, or one each."""

    def __init__(self, address, connections, size=128, kind="PNG"):
        clients = [Client(address) for _ in range(connections)]
        request = clients[0].request(encode(smooth(size, size), kind))
        self.failed = []  # (began, ended, error)
        self.answered = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.clients = clients
        calls = [clients[i % connections].method(SERVICE, "Restore") for i in range(CALLERS)]
        self.threads = [threading.Thread(target=self.call, args=(restore, request)) for restore in calls]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Until every call has an end."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        for client in self.clients:
            client.channel.close()

    def call(self, restore, request):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                restore(request, timeout=60)
                error = None
            except grpc.RpcError as failure:
                error = failure
            with self.lock:
                if error is None:
                    self.answered += 1
                else:
                    self.failed.append((began, time.monotonic(), error))


class Stats:
    """HAProxy's page: of each server of the backend its state, and how many calls it got and answered."""

    def __init__(self, address):
        self.address = address

    def rows(self, backend="servers"):
        with urllib.request.urlopen(f"http://{self.address}/;csv", timeout=10) as page:
            rows = csv.DictReader(io.StringIO(page.read().decode().removeprefix("# ")))
            return {row["svname"]: row for row in rows
                    if row["pxname"] == backend and row["svname"] not in ("BACKEND", "FRONTEND")}

    def state(self, server, backend="servers"):
        return self.rows(backend)[server]["status"]

    def up(self, backend="servers"):
        """Servers that get calls, but for the one that waits behind them."""
        return sorted(name for name, row in self.rows(backend).items() if row["status"] == "UP" and row["act"] == "1")

    def answered(self):
        return {name: int(row["hrsp_2xx"] or 0) for name, row in self.rows().items()}

    def unanswered(self):
        """Calls that a server got, that were not sent to another then, and that it did not answer."""
        return {name: int(row["stot"]) - int(row["wredis"]) - int(row["hrsp_2xx"] or 0)
                for name, row in self.rows().items()}


class Dns:
    """Answers queries of A records with `names`, which may change at any time; nothing else has an address."""

    def __init__(self, names):
        self.names = names
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            self.socket.sendto(self.answer(query), peer)

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        kind, = struct.unpack("!H", query[at + 1:at + 3])
        known = self.names.get(".".join(labels))
        found = known if known and kind == 1 else []
        flags = 0x8180 if known else 0x8183  # NXDOMAIN
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(ip) for ip in found]
        return header + question + b"".join(records)
