"""A server of a few lines, for what the real one does not do when it is asked to: fail, delay, be away."""

from concurrent import futures

import grpc

from deweather_client.methods import CHECK_HEALTH, GET_JOB, GET_MODEL, RESTORE
from deweather_client.v1 import restoration_pb2
from deweather_client.wire_pb2 import ErrorInfo, HealthCheckResponse, RetryInfo, Status

METHODS = (RESTORE, GET_MODEL, GET_JOB, CHECK_HEALTH)


class FakeServer:
    """Answers each call with what `answer(name, request, context)` returns, or as it should.

    `calls` has the name and the metadata of each. `streams`: by method, what answers with several replies.
    """

    def __init__(self, answer=None, credentials=None, streams=None):
        self.answer = answer or (lambda name, request, context: None)
        self.calls = []
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        handlers = {method.path: self._handler(method) for method in METHODS}
        for method, stream in (streams or {}).items():
            handlers[method.path] = grpc.unary_stream_rpc_method_handler(
                stream, method.request.FromString, method.reply.SerializeToString)
        self.server.add_generic_rpc_handlers((Handlers(handlers),))
        host = "127.0.0.1:0"
        port = (self.server.add_secure_port(host, credentials) if credentials
                else self.server.add_insecure_port(host))
        self.address = f"127.0.0.1:{port}"

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()

    def metadata(self, number=-1):
        return dict(self.calls[number][1])

    def _handler(self, method):
        def call(request, context):
            self.calls.append((method.name, context.invocation_metadata()))
            return self.answer(method.name, request, context) or default(method)

        return grpc.unary_unary_rpc_method_handler(call, method.request.FromString, method.reply.SerializeToString)


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers):
        self._handlers = handlers

    def service(self, details):
        return self._handlers.get(details.method)


def default(method):
    if method is CHECK_HEALTH:
        return HealthCheckResponse(status=HealthCheckResponse.SERVING)
    if method is RESTORE:
        return restoration_pb2.RestoreResponse(image=b"restored", format=restoration_pb2.RestoreOptions.FORMAT_PNG)
    return method.reply()


def fail(context, code, message="no", reason="", retry_delay=0.0):
    """Ends the call as our server does."""
    status = Status(code=code.value[0], message=message)
    if reason:
        status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo",
                           value=ErrorInfo(reason=reason, domain="deweather").SerializeToString())
    if retry_delay:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(retry_delay * 1e9))
        status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry.SerializeToString())
    trailers = [("x-request-id", "of-the-server")]
    if status.details:
        trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(code, message)
