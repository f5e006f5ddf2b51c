"""A hundred thousand calls that no good client makes, and connections that do not even speak gRPC.

Calls to every method of the server, and to some that it does not have: random bytes, cut and flipped
requests, wrong wire types, lengths beyond the end, unknown enum values, options out of range, strings
that are not UTF-8, messages above the limit, streams in any order, cancelled or half-closed anywhere.
Beside them raw connections: random bytes, half a preface, headers without end, floods of settings, pings
and resets, frames and gRPC lengths that lie. A good caller checks its pictures all the while.

Bounds: the good caller's replies are right and the server lives; every call ends with a code that says
what was wrong: never UNKNOWN; INTERNAL, or gRPC's bare UNIMPLEMENTED, only for a message that does not
parse; afterwards no call is in flight, as many files are open as before, and memory has grown by no more
than 20 MB since the warm-up.
"""

import collections
import contextlib
import hashlib
import random
import socket
import struct
import tempfile
import threading
import time

from measure import Report, arguments, is_idle, open_files, real_server, settle

import grpc
from harness import SERVICE, decode, encode, noise, np

CONFIG = """
drain { delay {} }
limits { max_receive_bytes: 1048576 max_large_bytes: 1048576 }
admission { max_caller_percent: 100 }
"""
MODELS = "deweather.v1.ModelService"
TRAINING = "deweather.v1.TrainingService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
PATIENT_S = 60
FILES = 5  # by which the number of open files may differ
KNOWN = 24  # the first so many of `methods_of` name methods of the server
CONNECTORS = 4
REPLIES = 50  # that a stream's caller reads before it cancels

# What a call may always end with; other codes need a reason that `fault_of` knows.
SANE = ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED",
        "DATA_LOSS")

Method = collections.namedtuple("Method", "path shape type examples")
Call = collections.namedtuple("Call", "method kind messages impatient half_close")


# Messages.

def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, wire_type, content=b""):
    return varint(number << 3 | wire_type) + content


def text(number, content):
    return field(number, 2, varint(len(content)) + content)


def random_bytes(rng, _):
    return rng.randbytes(rng.choice((1, 3, 10, 100, 1000)))


def cut(rng, good):
    return good[:rng.randrange(len(good) + 1)]


def flipped(rng, good):
    out = bytearray(good or b"\0")
    for _ in range(rng.randint(1, 8)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def wrong_wire_type(rng, _):
    return b"".join(field(rng.randint(0, 10), rng.randrange(8), rng.randbytes(rng.choice((0, 1, 4, 8))))
                    for _ in range(rng.randint(1, 5)))


def long_length(rng, good):
    length = rng.choice((1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1, -1))
    tail = rng.choice((b"", good, b"\xff" * 12))
    return field(rng.randint(1, 8), 2, varint(length) + tail)


def unknown_enum(rng, good):
    values = (6, 99, -1, 1 << 31, 1 << 62)
    options = b"".join(field(n, 0, varint(rng.choice(values))) for n in (2, 4, 7) if rng.random() < 0.6)
    return good + text(rng.choice((1, 2)), options)


def extreme_option(rng, good):
    options = rng.choice((
        text(1, b"m" * rng.choice((65, 5000, 100_000))),
        field(3, 0, varint(rng.choice((101, -1, 1 << 31)))),
        field(5, 5, struct.pack("<f", rng.choice((float("nan"), float("inf"), -1e-9, 1.1)))),
        text(8, b"t" * rng.choice((1, 65, 100_000))),
        field(9, 0, varint(rng.choice((1, 2, -1)))) + field(10, 0, varint(rng.choice((0, -1, 1 << 63)))),
    ))
    plain = rng.choice((text(1, b"n" * rng.choice((65, 100_000))), text(2, b"v" * 70_000),
                        field(1, 0, varint(-1)), field(2, 0, varint(1 << 40))))
    return rng.choice((good + text(2, options), text(1, text(1, options)), plain))


def not_utf8(rng, good):
    bad = rng.choice((b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"a\x80", b"\xf5\x80\x80\x80"))
    return rng.choice((text(1, bad), text(2, bad), good + text(2, text(1, bad)),
                       text(1, text(1, text(1, bad))), text(7, bad)))


def nested(rng, _):
    depth = rng.choice((50, 200, 5000))
    if rng.random() < 0.5:
        return field(rng.randint(1, 9), 3) * depth
    out = b""
    for _ in range(min(depth, 200)):
        out = text(rng.choice((1, 2)), out)
    return out


def too_large(rng, good):
    return good + text(rng.choice((1, 9)), bytes((1 << 20) + rng.randint(-100, 100)))


def empty(_rng, _good):
    return b""


def valid(_rng, good):
    return good


KINDS = {random_bytes: 10, cut: 10, flipped: 15, wrong_wire_type: 10, long_length: 8, unknown_enum: 8,
         extreme_option: 8, not_utf8: 8, nested: 5, too_large: 0.3, empty: 4, valid: 3}


# Calls.

def examples_of(client, picture):
    """Good requests of every message type, by its name."""
    def make(name, *each):
        kind = client.message(name)
        return kind, [kind(**fields).SerializeToString() for fields in each]
    prefix = "deweather.v1."
    options = {"model": "identity", "format": 2, "quality": 90, "strength": 0.5, "expert_map": True}
    chunk = {"chunk": {"offset": 0, "data": picture}}
    start = {"start": {"options": options, "image_bytes": len(picture)}}
    one = {"frame": {"id": 7, "image": picture}}
    sha256 = hashlib.sha256(picture).hexdigest()
    job = {"id": "0123456789ab"}
    config = {"data": {"clean": [{"dir": "nowhere"}]}, "steps": 1}
    upload = ({"start": {"name": "uploaded", "kind": 2}},
              {"file": {"path": "a.png", "bytes": len(picture), "sha256": sha256}}, {"chunk": picture})
    return {
        "ImportModel": make(prefix + "ImportModelRequest",
                            {"start": {"name": "a", "bytes": len(picture), "sha256": sha256}}, {"chunk": picture}),
        "SubmitJob": make(prefix + "SubmitJobRequest", {"config": config, "labels": {"a": "b"}, "request_id": "r"}),
        "ListJobs": make(prefix + "ListJobsRequest", {"page_size": 3, "states": [1], "labels": {"a": "b"}}),
        "WatchJob": make(prefix + "WatchJobRequest", {**job, "after_event": 1}),
        "StreamLogs": make(prefix + "StreamLogsRequest", {**job, "offset": 1, "follow": True}),
        "DownloadArtifact": make(prefix + "DownloadArtifactRequest", {**job, "name": "log.txt", "offset": 1}),
        "ListDatasets": make(prefix + "ListDatasetsRequest", {"page_size": 3}),
        "UploadDataset": make(prefix + "UploadDatasetRequest", *upload),
        **{name: make(f"{prefix}{name}Request", job)
           for name in ("GetJob", "CancelJob", "ResumeJob", "DeleteJob", "ListCheckpoints")},
        "Restore": make(prefix + "RestoreRequest", {"image": picture, "options": options}),
        "RestoreLarge": make(prefix + "RestoreLargeRequest", start, chunk),
        "RestoreStream": make(prefix + "RestoreStreamRequest",
                              {"start": {"window": 2, "drop_oldest": True}}, one, one),
        "ListModels": make(prefix + "ListModelsRequest", {"page_size": 3, "page_token": "x"}),
        "GetModel": make(prefix + "GetModelRequest", {"name": "identity"}),
        "PromoteModel": make(prefix + "PromoteModelRequest", {"name": "a", "version": "0123456789ab"}),
        "DeleteVersion": make(prefix + "DeleteVersionRequest", {"name": "a", "version": "0123456789ab"}),
        "RollbackModel": make(prefix + "RollbackModelRequest", {"name": "identity"}),
        "Check": make("grpc.health.v1.HealthCheckRequest", {"service": SERVICE}),
        "ServerReflectionInfo": make("grpc.reflection.v1alpha.ServerReflectionRequest",
                                     {"list_services": "*"}, {"file_containing_symbol": SERVICE}),
    }


def methods_of(client, picture):
    good = examples_of(client, picture)
    def at(service, name, shape="unary_unary", like=None):
        return Method(f"/{service}/{name}", shape, *good[like or name])
    both = "stream_stream"
    return [
        at(SERVICE, "Restore"), at(SERVICE, "RestoreLarge", both), at(SERVICE, "RestoreStream", both),
        *(at(MODELS, n) for n in ("ListModels", "GetModel", "PromoteModel", "RollbackModel",
                                  "DeleteVersion")),
        at(MODELS, "ImportModel", "stream_unary"), at(TRAINING, "UploadDataset", "stream_unary"),
        *(at(TRAINING, n) for n in ("SubmitJob", "GetJob", "ListJobs", "CancelJob", "ResumeJob", "DeleteJob",
                                    "ListCheckpoints", "ListDatasets")),
        *(at(TRAINING, n, "unary_stream") for n in ("WatchJob", "StreamLogs", "DownloadArtifact")),
        at(HEALTH, "Check"), at(HEALTH, "Watch", "unary_stream", "Check"),
        at(REFLECTION, "ServerReflectionInfo", both),
        # A method called in another's shape, and names that the server does not know.
        at(SERVICE, "RestoreLarge"), at(SERVICE, "Restore", both),
        *(Method(path, "unary_unary", *good["Restore"]) for path in
          (f"/{SERVICE}/Restored", f"/{SERVICE}/", "/a/b", "/", "/" + "x" * 2000, f"/{SERVICE}")),
    ]


def call_of(rng, methods):
    weights = [1 if i < KNOWN else 0.2 for i in range(len(methods))]
    method = rng.choices(methods, weights)[0]
    streams = method.shape.startswith("stream")
    kinds = rng.choices(list(KINDS), KINDS.values(), k=rng.randint(0, 6) if streams else 1)
    if streams and rng.random() < 0.5:  # what is wrong comes after a good beginning
        kinds[:1] = [valid]
    messages = [kind(rng, method.examples[min(i, len(method.examples) - 1)
                                          if rng.random() < 0.8 else rng.randrange(len(method.examples))])
                for i, kind in enumerate(kinds)]
    endless = method.path.endswith("/Watch")
    half_close = not streams or rng.random() < 0.9
    impatient = endless or not half_close or rng.random() < 0.03
    return Call(method, "+".join(k.__name__ for k in kinds), messages, impatient, half_close)


def send(channel, call, timeout):
    """The future or the response iterator of the call, and what lets go of its requests."""
    multi = getattr(channel, call.method.shape)(call.method.path)
    gone = threading.Event()
    if call.method.shape == "unary_unary":
        return multi.future(call.messages[0], timeout=timeout), gone
    if call.method.shape == "unary_stream":
        return multi(call.messages[0], timeout=timeout), gone

    def requests():
        yield from call.messages
        if not call.half_close:
            gone.wait(PATIENT_S)
    begin = multi.future if call.method.shape == "stream_unary" else multi
    return begin(requests(), timeout=timeout), gone


def make(channel, call, rng):
    """How the call ends: its code and its message."""
    timeout = rng.choice((0.001, 0.01, 0.05)) if call.impatient else PATIENT_S
    replies, gone = send(channel, call, timeout)
    try:
        if call.method.shape.endswith("unary"):
            replies.result()
        else:
            for n, _ in enumerate(replies):
                if call.impatient and rng.random() < 0.3 or n > REPLIES:
                    replies.cancel()
        return "OK", ""
    except (grpc.RpcError, grpc.FutureCancelledError):
        return replies.code().name, replies.details() or ""
    finally:
        gone.set()


def parses(kind, message):
    try:
        kind.FromString(message)
        return True
    except Exception:  # the protobuf library's DecodeError is not the same in all of its versions
        return False


def fault_of(call, code, details, known):
    """What is wrong with this end of the call; None: nothing."""
    if "metadata size" in details:
        return "an error too long for a client's metadata"
    if code in SANE:
        return None
    if code in ("CANCELLED", "DEADLINE_EXCEEDED") and call.impatient:
        return None
    if code == "UNIMPLEMENTED" and call.method.path not in known:
        return None
    # gRPC's words for a message that does not parse: INTERNAL, or UNIMPLEMENTED without any word.
    if (code == "INTERNAL" or code == "UNIMPLEMENTED" and not details) and \
            not all(parses(call.method.type, m) for m in call.messages):
        return None
    # Its own words too: a name of more than 200 bytes is no name of a service.
    if code == "INTERNAL" and call.method.path.startswith(f"/{HEALTH}/") and "could not parse" in details:
        return None
    if code == "ABORTED" and details == "another promotion is under way":
        return None
    # A unary method is told by gRPC itself that it got no message, or more than one.
    if code in ("INTERNAL", "UNIMPLEMENTED") and call.method.path.endswith("/Restore") and \
            call.method.shape == "stream_stream" and len(call.messages) != 1:
        return None
    return "not a code for this"


class Calls:
    """Counts what many callers' calls end with."""

    def __init__(self, methods):
        self.methods = methods
        self.known = {m.path for m in methods[:KNOWN]}
        self.codes = collections.defaultdict(collections.Counter)
        self.faults = []
        self._lock = threading.Lock()

    def run(self, address, numbers, seed):
        with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            for number in numbers:
                rng = random.Random(f"{seed} {number}")
                call = call_of(rng, self.methods)
                self._count(number, call, *make(channel, call, rng))

    def _count(self, number, call, code, details):
        fault = fault_of(call, code, details, self.known)
        with self._lock:
            name = call.method.path[:60] if call.method.path in self.known else "unknown methods"
            self.codes[name][code] += 1
            if fault:
                self.faults.append(f"{number}: {fault}: {call.method.path[:60]} {call.method.shape} "
                                   f"{call.kind}: {code}: {details[:200]}")


# Connections.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, content=b"", length=None):
    size = len(content) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content


SETTINGS = frame(4, 0, 0)


def header(name, value):
    def sized(word):  # the lengths here are below 127
        return bytes([len(word)]) + word
    return b"\0" + sized(name) + sized(value)


def open_stream(stream, path=f"/{SERVICE}/Restore", end=0, *more):
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()),
               (b":authority", b"x"), (b"te", b"trailers"), (b"content-type", b"application/grpc"), *more]
    return frame(1, 4 | end, stream, b"".join(header(*h) for h in headers))


def silence(_):
    yield b""


def noise_bytes(rng):
    yield rng.randbytes(rng.choice((1, 24, 500, 50_000)))


def half_a_preface(rng):
    yield PREFACE[:rng.randrange(len(PREFACE))]


def http1(rng):
    yield rng.choice((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /" + b"a" * 10_000))


def endless_headers(rng):
    yield PREFACE + SETTINGS + frame(1, 0, 1, header(b"a", b"b"))
    for _ in range(200):
        yield frame(9, 0, 1, header(b"x-%d" % rng.randrange(10**6), b"y" * 100) * 90)


def flood(rng):
    one = rng.choice((SETTINGS, frame(6, 0, 0, bytes(8)), frame(4, 0, 0, bytes((0, 4, 0, 0, 255, 255))),
                      frame(8, 0, 0, bytes((0, 0, 0, 1)))))
    yield PREFACE + SETTINGS
    for _ in range(20):
        yield one * 500


def resets(_):
    yield PREFACE + SETTINGS
    for n in range(0, 1000, 10):
        yield b"".join(open_stream(2 * i + 1) + frame(3, 0, 2 * i + 1, bytes((0, 0, 0, 8)))
                       for i in range(n, n + 10))


def random_frames(rng):
    yield PREFACE + SETTINGS
    for _ in range(rng.randint(1, 50)):
        content = rng.randbytes(rng.choice((0, 1, 4, 8, 100)))
        length = rng.choice((None, None, None, 0, (1 << 24) - 1))
        yield frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 2, 3, 1 << 31)), content, length)


def random_headers(rng):
    yield PREFACE + SETTINGS + frame(1, 5, 1, rng.randbytes(rng.choice((1, 10, 200))))


def lying_lengths(rng):
    """A good call's headers, then a gRPC message that is not what its prefix says."""
    prefix = struct.pack(">BI", rng.choice((0, 1, 2, 255)), rng.choice((0, 1, 100, 1 << 20, (1 << 32) - 1)))
    body = prefix + rng.randbytes(rng.choice((0, 10, 1000)))
    yield PREFACE + SETTINGS + open_stream(1) + frame(0, rng.choice((0, 1)), 1, body)


def odd_headers(rng):
    more = rng.choice((
        (b"grpc-timeout", b"-5X"), (b"grpc-timeout", b"9" * 90), (b"grpc-encoding", b"nonsense"),
        (b"grpc-tags-bin", b"!!!"), (b":path", b"/again"), (b"UPPER", b"\0\n")))
    yield PREFACE + SETTINGS + open_stream(1, f"/{SERVICE}/Restore", rng.choice((0, 1)), more)


SENDERS = (silence, noise_bytes, half_a_preface, http1, endless_headers, flood, resets, random_frames,
           random_headers, lying_lengths, odd_headers)


def connect(address, number, seed):
    """One raw connection: sends, reads a little or not at all, and goes away in one way or another."""
    rng = random.Random(f"{seed} connection {number}")
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=1) as connection, \
            contextlib.suppress(OSError):  # closed by the server, or it no longer reads
        for piece in SENDERS[number % len(SENDERS)](rng):
            connection.sendall(piece)
        connection.settimeout(rng.choice((0.01, 0.1, 0.3)))
        while rng.random() < 0.9 and connection.recv(4096):
            pass


# The good caller.

class GoodCaller:
    """Restores a picture again and again; the identity must give it back."""

    def __init__(self, server):
        self.right, self.wrong = 0, []
        self._server, self._end = server, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _run(self):
        with self._server.client() as client:
            seed = 0
            while not self._end.wait(0.05):
                seed += 1
                self._one(client, noise(40, 30, seed=seed))

    def _one(self, client, pixels):
        try:
            right = np.array_equal(decode(client.restore(encode(pixels)).image), pixels)
            serving = client.health() == "SERVING"
            if right and serving:
                self.right += 1
            else:
                self.wrong.append(f"right: {right}, serving: {serving}")
        except grpc.RpcError as error:
            self.wrong.append(f"{error.code().name}: {error.details()}")


def storm(server, calls, numbers, connections, flags):
    """Makes these calls and connections, from several callers at a time."""
    def connect_all(mine):
        for number in mine:
            connect(server.address, number, flags.seed)
    def call_all(mine):
        calls.run(server.address, mine, flags.seed)
    threads = [threading.Thread(target=call_all, args=(numbers[i::flags.callers],))
               for i in range(flags.callers)]
    threads += [threading.Thread(target=connect_all, args=(connections[i::CONNECTORS],))
                for i in range(CONNECTORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return settle(lambda: is_idle(server))


def resident_mb(server):
    """At rest: the least within a few seconds, in which the allocator gives pages back."""
    def now():
        time.sleep(0.25)
        return server.metrics()["process_resident_memory_bytes"]
    return min(now() for _ in range(20)) / 1e6


def in_flight(server):
    """Every gauge of what is under way, by its name."""
    return {name: value for name, value in server.metrics().items()
            if "inflight" in name or name == "deweather_queue_tiles"}


def judge(report, calls, good, flags):
    counted = sum(calls.codes.values(), collections.Counter())
    report.figures(calls=counted.total(), codes=counted, by_method=calls.codes, faults=calls.faults[:20],
                   connections=flags.connections, good_replies=good.right, wrong_replies=good.wrong[:20])
    report.at_least("calls", counted.total(), flags.count)
    report.at_most("calls that ended otherwise than they should", len(calls.faults), 0)
    report.at_most("good calls that failed or gave a wrong picture", len(good.wrong), 0)
    report.at_least("good calls", good.right, flags.count // 1000)


def storms(report, server, flags):
    with server.client() as client:
        calls = Calls(methods_of(client, encode(noise(8, 8))))
    warm = flags.count // 5, flags.connections // 5
    start = time.monotonic()
    with GoodCaller(server) as good:
        idle = storm(server, calls, range(warm[0]), range(warm[1]), flags)
        files, memory = open_files(server), resident_mb(server)
        idle &= storm(server, calls, range(warm[0], flags.count), range(warm[1], flags.connections), flags)
        settled = settle(lambda: abs(open_files(server) - files) <= FILES)
        grown = resident_mb(server) - memory
    report.figures(seconds=time.monotonic() - start, resident_mb_after_warm_up=memory)
    judge(report, calls, good, flags)
    left = {name: value for name, value in in_flight(server).items() if value}
    report.figures(left_in_flight=left)
    report.at_least("nothing in flight after the storms", int(idle and not left), 1)
    report.at_least(f"as many open files as before, to within {FILES}", int(settled), 1)
    report.at_most("growth of memory after the warm-up, MB", grown, 20)


def main():
    flags = arguments(__doc__, count=100_000, connections=500, callers=12, seed=1)
    report = Report("malformed")
    with tempfile.TemporaryDirectory() as folder, \
            real_server("--model", "identity", "--data-dir", folder, config=CONFIG) as server:
        storms(report, server, flags)
        report.at_least("server alive at the end", int(server.process.poll() is None), 1)
        report.at_most("exit status", abs(server.stop()), 0)
        report.figures(lines_of_log=server.errors().count("\n"))
    report.finish()


if __name__ == "__main__":
    main()
