"""A hundred thousand requests of the Open Inference Protocol's REST form that no good client makes.

They tell kserve_malformed.py's lies, as JSON and binary data; and a third of them lie about the JSON besides: cut,
changed, nested, repeated, of another length than the header says, of another path or method.

Bounds: as malformed.py's. Every error must be {"error": "..."}.
"""

import http.client
import json
import random
import re

from kserve_malformed import PATIENT_S, WORDS, Calls, lie, run
from measure import arguments

LENGTH = "Inference-Header-Content-Length"
FIELDS = ("bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents",
          "fp64_contents", "bytes_contents")
TOKENS = (b"[", b"]", b"{", b"}", b",", b":", b'"', b"null", b"true", b"1e400", b"-1", b"1e39", b"256", b"\xff", b"\0",
          b'"data":', b'"shape":', b'"id":"', b'"binary_data_size":', b"18446744073709551616", b"\\ud800", b"NaN")
PATHS = ("/v2", "/v2/health/ready", "/v2/models/identity", "/v2/models/identity/ready", "/v2/models/identity/config",
         "/v2/models/identity/versions/0/infer", "/v2/repository/index", "/v2/models//infer", "/v2/models/%00/infer",
         "/v2/models/" + "x" * 5000, "/v2/" + "a/" * 500, "/v2/models/identity/infer?a=b")

# What a call may end with; 504 only where it asked for a short time.
SANE = (200, 400, 404, 405, 413, 415, 429, 503)


# Requests.

def value_of(parameter):
    kind = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, kind) if kind else None


def parameters_of(thing):
    return {name: value_of(parameter) for name, parameter in thing.parameters.items()}


def data_of(tensor):
    """Typed contents as JSON has them: of several fields one after the other."""
    values = [value for name in FIELDS for value in getattr(tensor.contents, name)]
    return [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]


def rest_of(rng, request):
    """JSON and what is behind it, of a message."""
    raws = list(request.raw_input_contents)
    inputs = []
    for tensor in request.inputs:
        parameters = parameters_of(tensor)
        fields = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "parameters": parameters}
        if len(inputs) < len(raws):
            parameters["binary_data_size"] = len(raws[len(inputs)])
        if tensor.HasField("contents"):
            fields["data"] = data_of(tensor)
        items = list(fields.items())
        rng.shuffle(items)
        inputs.append(dict(items))
    parameters = parameters_of(request)
    if rng.random() < 0.5:
        parameters["binary_data_output"] = rng.choice((True, True, False, 1, "yes"))
    document = {"id": request.id, "parameters": parameters, "inputs": inputs}
    if request.outputs:
        document["outputs"] = [{"name": output.name, "parameters": parameters_of(output)} for output in request.outputs]
    return json.dumps(document).encode(), b"".join(raws)


# What is done to the text.

def cut(rng, text):
    return text[:rng.randrange(len(text) + 1)]


def flipped(rng, text):
    out = bytearray(text)
    for _ in range(rng.choice((1, 1, 3, 10))):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def spliced(rng, text):
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(TOKENS) + text[at + rng.choice((0, 0, 1, 5)):]
    return text


def nested(rng, text):
    """Brackets without end, where something is or where nothing should be."""
    depth = rng.choice((10, 100, 100_000))
    bomb = (b"[" if rng.random() < 0.7 else b'{"a":') * depth
    at = [found.end() for found in re.finditer(rb"[:,\[]", text)]
    where = rng.choice(at) if at else 0
    return text[:where] + bomb + (text[where:] if rng.random() < 0.5 else b"")


def repeated(rng, text):
    start = rng.randrange(len(text))
    return text[:start] + text[start:start + rng.choice((3, 30, 300))] * rng.choice((2, 100)) + text[start:]


def garbage(rng, _text):
    return rng.randbytes(rng.choice((0, 1, 10, 1000)))


CHANGES = (cut, flipped, flipped, spliced, spliced, nested, repeated, garbage)


class HttpCalls(Calls):
    def run(self, server, numbers, seed):
        connection = http.client.HTTPConnection(server.http_address, timeout=PATIENT_S)
        for number in numbers:
            self._ask(connection, random.Random(f"{seed} {number}"), number)
        connection.close()

    def _ask(self, connection, rng, number):
        request = lie(rng, self.infer, self.picture)
        text, behind = rest_of(rng, request)
        path = f"/v2/models/{rng.choice(('identity', 'identity', 'default', 'nobody'))}/infer"
        method, length = "POST", len(text) if behind or rng.random() < 0.2 else None
        if rng.random() < 0.3:
            text = rng.choice(CHANGES)(rng, text)
        elif rng.random() < 0.1:
            path, method = rng.choice(PATHS), rng.choice(("GET", "POST", "PUT", "HEAD"))
        elif rng.random() < 0.1:
            length = rng.choice((0, 1, len(text) - 1, len(text) + 1, 1 << 63, -1, "x", rng.choice(WORDS[:9]), None))
        headers = {} if length is None else {LENGTH: str(length)}
        body = b"" if method in ("GET", "HEAD") else text + behind
        status, told = self._reply(connection, method, path, body, headers)
        self._count_status(number, f"{method} {path[:50]}", status, told, self.is_short(request))

    @staticmethod
    def _reply(connection, method, path, body, headers):
        """Status and body. A server that closes an idle connection between two requests is in its right; a reply that
        never comes is not."""
        for attempt in (1, 2):
            try:
                connection.request(method, path, body, headers)
                reply = connection.getresponse()
                return reply.status, reply.read()
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                if attempt == 2:
                    return 0, repr(error).encode()
        raise AssertionError("not reached")

    def _count_status(self, number, what, status, told, short):
        sane = status in SANE or (status == 504 and short)
        if status >= 400 and sane and not what.startswith("HEAD"):
            sane = self._is_error(told)
        with self._lock:
            self.codes[what.split()[0]][str(status)] += 1
            if not sane:
                self.faults.append(f"{number}: {what}: {status}: {told[:200]}")

    @staticmethod
    def _is_error(told):
        try:
            document = json.loads(told)
        except ValueError:
            return False
        return isinstance(document, dict) and list(document) == ["error"] and bool(document["error"])


if __name__ == "__main__":
    run("kserve_malformed_http", arguments(__doc__, count=100_000, callers=12, seed=1), HttpCalls, http=True)
