"""A hundred thousand requests of the Open Inference Protocol that no good client makes.

Every method gets bytes that are no message, as in malformed.py. ModelInfer, most of them, gets messages that
parse and lie: names, datatypes, shapes, sizes, contents in the wrong field or in several, values that are no
pixels, elements longer than their tensor, parameters of every kind. A good caller checks its pictures meanwhile.

Bounds: as malformed.py's.
"""

import collections
import random
import struct
import tempfile
import threading
import time

from malformed import CONFIG, FILES, GoodCaller, KINDS, in_flight, resident_mb
from measure import Report, arguments, is_idle, open_files, real_server, settle

import grpc
from harness import encode, noise, np

SERVICE = "inference.GRPCInferenceService"
PATIENT_S = 60
INTS = (0, 1, -1, 2, 3, 4, 64, 65, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, 1.0, -0.0, -1e-30, 1.0000001, float("nan"), float("inf"), -float("inf"), 1e38)
WORDS = ("", "image", "image_bytes", "restored", "routing", "uncertainty", "UINT8", "FP32", "FP16", "BF16", "BYTES", "NCHW",
         "NHWC", "layout", "priority", "timeout", "strength", "seed", "task", "identity", "default", "x" * 70, "\0\n%s", "é" * 40)
ITEM_BYTES = {"UINT8": 1, "FP32": 4, "FP16": 2, "BF16": 2}

# What a call may end with; DEADLINE_EXCEEDED only where it asked for a short time.
SANE = ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED")


# Messages.

def tensor(rng, request):
    """A good tensor, of any datatype and layout."""
    datatype = rng.choice(tuple(ITEM_BYTES))
    count, height, width = rng.randint(1, 3), rng.randint(1, 12), rng.randint(1, 12)
    shape = [count, 3, height, width]
    if rng.random() < 0.3:
        shape = [count, height, width, 3]
        request.parameters["layout"].string_param = "NHWC"
    values = count * 3 * height * width
    request.inputs.add(name="image", datatype=datatype, shape=shape)
    if datatype == "UINT8" and rng.random() < 0.5:
        request.inputs[0].contents.uint_contents.extend(rng.randbytes(values))
    elif datatype == "FP32":
        raw = np.frombuffer(rng.randbytes(values), np.uint8) / np.float32(255)
        if rng.random() < 0.5:
            request.raw_input_contents.append(raw.astype(np.float32).tobytes())
        else:
            request.inputs[0].contents.fp32_contents.extend(raw.tolist())
    else:
        request.raw_input_contents.append(bytes(values * ITEM_BYTES[datatype]))


def files(rng, request, picture):
    count = rng.randint(1, 3)
    request.inputs.add(name="image_bytes", datatype="BYTES", shape=[count])
    elements = [picture if rng.random() < 0.8 else rng.randbytes(rng.choice((0, 4, 100))) for _ in range(count)]
    if rng.random() < 0.5:
        request.inputs[0].contents.bytes_contents.extend(elements)
    else:
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(e)) + e for e in elements))


def change_shape(rng, request):
    shape = request.inputs[0].shape
    kind = rng.randrange(4)
    if kind == 0 and shape:
        shape[rng.randrange(len(shape))] = rng.choice(INTS)
    elif kind == 1:
        shape.append(rng.choice(INTS))
    elif kind == 2:
        del shape[rng.randrange(len(shape) + 1):]
    else:
        shape[:] = [rng.choice(INTS) for _ in range(rng.choice((0, 1, 4, 4, 4, 1000)))]


def change_name(rng, request):
    one = rng.randrange(5)
    word = rng.choice(WORDS)
    if one == 0:
        request.inputs[0].name = word
    elif one == 1:
        request.inputs[0].datatype = word
    elif one == 2:
        request.outputs.add(name=word)
    elif one == 3:
        request.model_name = word
    else:
        request.model_version = word


def change_raw(rng, request):
    if not request.raw_input_contents:
        request.raw_input_contents.append(rng.randbytes(rng.choice((0, 1, 4, 100))))
        return
    raw = bytearray(request.raw_input_contents[0])
    kind = rng.randrange(4)
    if kind == 0:
        del raw[rng.randrange(len(raw) + 1):]
    elif kind == 1:
        raw += rng.randbytes(rng.choice((1, 4, 1000)))
    elif kind == 2 and len(raw) >= 4:  # a length, or a float
        at = rng.randrange(0, len(raw) - 3, 4)
        raw[at:at + 4] = rng.choice((struct.pack("<f", rng.choice(FLOATS)), struct.pack("<i", rng.choice((-1, 1 << 30, 5)))))
    else:
        raw = bytearray(rng.randbytes(len(raw)))
    request.raw_input_contents[0] = bytes(raw)


def change_typed(rng, request):
    contents = request.inputs[0].contents
    field = rng.choice(("bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents",
                        "fp32_contents", "fp64_contents", "bytes_contents"))
    values = {"bytes_contents": [b"", b"x" * 100], "bool_contents": [True], "fp32_contents": list(FLOATS),
              "fp64_contents": list(FLOATS)}.get(field, [0, 1, 256])
    if rng.random() < 0.3:
        request.inputs[0].ClearField("contents")
    getattr(contents, field).extend(rng.choices(values, k=rng.choice((1, 3, 48))))


def change_parameter(rng, request):
    of = rng.choice((request, request, request, request.inputs[0]))
    value = of.parameters[rng.choice(WORDS)]
    kind = rng.randrange(6)
    if kind == 0:
        value.bool_param = True
    elif kind == 1:
        value.int64_param = rng.choice(INTS)
    elif kind == 2:
        value.string_param = rng.choice(WORDS)
    elif kind == 3:
        value.double_param = rng.choice(FLOATS)
    elif kind == 4:
        value.uint64_param = rng.choice(INTS) & (1 << 64) - 1


def change_count(rng, request):
    if rng.random() < 0.3:
        request.ClearField("inputs")
    for _ in range(rng.choice((1, 1, 2, 300))):
        request.inputs.add(name=rng.choice(WORDS), datatype=rng.choice(WORDS), shape=[1])


CHANGES = (change_shape, change_name, change_raw, change_typed, change_parameter, change_count)


def lie(rng, kind, picture):
    """A request that parses; most are wrong in one way, or in a few."""
    request = kind(model_name="identity", id=rng.choice(WORDS))
    if rng.random() < 0.7:
        tensor(rng, request)
    else:
        files(rng, request, picture)
    for change in rng.choices(CHANGES, k=rng.choice((0, 1, 1, 1, 2, 4))):
        if request.inputs:
            change(rng, request)
    return request


# Calls.

class Calls:
    """Counts what many callers' calls end with."""

    def __init__(self, client):
        names = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig", "RepositoryIndex")
        self.infer = client.message("inference.ModelInferRequest")
        self.others = {name: client.message(f"inference.{name}Request") for name in names}
        self.picture = encode(noise(8, 8))
        self.codes = collections.defaultdict(collections.Counter)
        self.faults = []
        self._lock = threading.Lock()

    def run(self, server, numbers, seed):
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            for number in numbers:
                self._one(channel, random.Random(f"{seed} {number}"), number)

    def _one(self, channel, rng, number):
        method, parses = "ModelInfer", True
        request = lie(rng, self.infer, self.picture)
        short = self.is_short(request)
        message = request.SerializeToString()
        if rng.random() < 0.3:
            method = rng.choice(("ModelInfer", *self.others))
            kind = self.infer if method == "ModelInfer" else self.others[method]
            good = message if method == "ModelInfer" else kind().SerializeToString()
            message = rng.choices(list(KINDS), KINDS.values())[0](rng, good)
            parses = self._parses(kind, message)
        if len(message) > 1 << 21:
            message = message[:1 << 20]
        code, details = self._call(channel, method, message)
        self._count(number, method, code, details, short, parses)

    @staticmethod
    def is_short(request):
        """Whether it asks for so little time that it may run out."""
        timeout = request.parameters["timeout"] if "timeout" in request.parameters else None
        return timeout is not None and 0 < (timeout.int64_param or timeout.uint64_param) < 10**8

    @staticmethod
    def _parses(kind, message):
        try:
            kind.FromString(message)
            return True
        except Exception:  # the protobuf library's DecodeError is not the same in all of its versions
            return False

    @staticmethod
    def _call(channel, method, message):
        try:
            channel.unary_unary(f"/{SERVICE}/{method}")(message, timeout=PATIENT_S)
            return "OK", ""
        except grpc.RpcError as error:
            return error.code().name, error.details() or ""

    def _count(self, number, method, code, details, short, parses):
        sane = code in SANE or (code == "DEADLINE_EXCEEDED" and short) or \
            (code in ("INTERNAL", "UNIMPLEMENTED") and not parses)
        with self._lock:
            self.codes[method][code] += 1
            if not sane:
                self.faults.append(f"{number}: {method}: {code}: {details[:200]}")


def storm(server, calls, numbers, flags):
    threads = [threading.Thread(target=calls.run, args=(server, numbers[i::flags.callers], flags.seed))
               for i in range(flags.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return settle(lambda: is_idle(server))


def storms(report, server, flags, calls_of=Calls):
    with server.client() as client:
        calls = calls_of(client)
    warm = flags.count // 5
    start = time.monotonic()
    with GoodCaller(server) as good:
        idle = storm(server, calls, range(warm), flags)
        files_open, memory = open_files(server), resident_mb(server)
        idle &= storm(server, calls, range(warm, flags.count), flags)
        settled = settle(lambda: abs(open_files(server) - files_open) <= FILES)
        grown = resident_mb(server) - memory
    counted = sum(calls.codes.values(), collections.Counter())
    report.figures(seconds=time.monotonic() - start, resident_mb_after_warm_up=memory, calls=counted.total(),
                   codes=counted, by_method=calls.codes, faults=calls.faults[:20], good_replies=good.right,
                   wrong_replies=good.wrong[:20])
    report.at_least("calls", counted.total(), flags.count)
    report.at_most("calls that ended otherwise than they should", len(calls.faults), 0)
    report.at_most("good calls that failed or gave a wrong picture", len(good.wrong), 0)
    report.at_least("good calls", good.right, flags.count // 1000)
    left = {name: value for name, value in in_flight(server).items() if value}
    report.at_least("nothing in flight after the storms", int(idle and not left), 1)
    report.at_least(f"as many open files as before, to within {FILES}", int(settled), 1)
    report.at_most("growth of memory after the warm-up, MB", grown, 20)


def run(name, flags, calls_of=Calls, **options):
    report = Report(name)
    with tempfile.TemporaryDirectory() as folder, \
            real_server("--model", "identity", "--data-dir", folder, config=CONFIG, **options) as server:
        storms(report, server, flags, calls_of)
        report.at_least("server alive at the end", int(server.process.poll() is None), 1)
        report.at_most("exit status", abs(server.stop()), 0)
        report.figures(lines_of_log=server.errors().count("\n"))
    report.finish()


if __name__ == "__main__":
    run("kserve_malformed", arguments(__doc__, count=100_000, callers=12, seed=1))
