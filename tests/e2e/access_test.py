"""Who may call what: every method of every service, with every kind of token, over every kind of connection."""

import hashlib
import itertools
import pathlib
import signal
import tempfile
import threading
import time

from certificates import Authority
from harness import Server, TestCase, encode, grpc, main, noise, wait_until

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
RESTORATION, TRAINING, MODEL = (f"deweather.v1.{name}Service" for name in ("Restoration", "Training", "Model"))
INFERENCE = "inference.GRPCInferenceService"

ANYWHERE = ("--model", "identity", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
ANY = {"infer", "train", "admin"}
# What each method needs one of; None: nothing.
NEEDS = {
    (HEALTH, "Check"): None,
    (HEALTH, "Watch"): None,
    (REFLECTION, "ServerReflectionInfo"): ANY,
    (RESTORATION, "Restore"): {"infer"},
    (RESTORATION, "RestoreLarge"): {"infer"},
    (RESTORATION, "RestoreStream"): {"infer"},
    (TRAINING, "SubmitJob"): {"train"},
    (TRAINING, "GetJob"): {"train"},
    (TRAINING, "ListJobs"): {"train"},
    (TRAINING, "CancelJob"): {"train"},
    (TRAINING, "ResumeJob"): {"train"},
    (TRAINING, "DeleteJob"): {"train"},
    (TRAINING, "WatchJob"): {"train"},
    (TRAINING, "StreamLogs"): {"train"},
    (TRAINING, "ListCheckpoints"): {"train"},
    (TRAINING, "DownloadArtifact"): {"train"},
    (TRAINING, "ListDatasets"): {"train"},
    (TRAINING, "UploadDataset"): {"train"},
    (MODEL, "ListModels"): ANY,
    (MODEL, "GetModel"): ANY,
    (MODEL, "PromoteModel"): {"admin"},
    (MODEL, "RollbackModel"): {"admin"},
    (MODEL, "DeleteVersion"): {"admin"},
    (MODEL, "ImportModel"): {"admin"},
    (INFERENCE, "ServerLive"): ANY,
    (INFERENCE, "ServerReady"): ANY,
    (INFERENCE, "ServerMetadata"): ANY,
    (INFERENCE, "ModelReady"): {"infer"},
    (INFERENCE, "ModelMetadata"): {"infer"},
    (INFERENCE, "ModelInfer"): {"infer"},
    (INFERENCE, "ModelConfig"): {"infer"},
    (INFERENCE, "RepositoryIndex"): {"infer"},
}
# What callers show, and the groups of it.
TOKENS = {"none": None, "infer": {"infer"}, "train": {"train"}, "admin": {"admin"}, "two": {"train", "infer"},
          "unknown": None, "revoked": None, "malformed": None}


def entry(name, token, groups):
    listed = ", ".join(f"GROUP_{group.upper()}" for group in sorted(groups))
    return f'token {{ name: "{name}" sha256: "{hashlib.sha256(token.encode()).hexdigest()}" group: [{listed}] }}\n'


def header(token):
    if token == "none":
        return []
    return [("authorization", token if token == "malformed" else f"Bearer token-{token}")]


def replace(path, text):
    """As one: who reads it finds the old or the new."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


def read(path):
    return pathlib.Path(path).read_bytes()


class Method:
    def __init__(self, service, descriptor):
        self.service, self.name = service, descriptor.name
        self.asks, self.tells = descriptor.client_streaming, descriptor.server_streaming

    def call(self, channel, metadata, timeout=30, message=None):
        """The code of a call with one message; without one, with an empty one or none."""
        sides = ("unary", "stream")
        make = getattr(channel, f"{sides[self.asks]}_{sides[self.tells]}")
        call = make(f"/{self.service}/{self.name}", request_serializer=None, response_deserializer=None)
        request = iter(() if message is None else (message,)) if self.asks else message or b""
        try:
            if not self.tells:
                call(request, timeout=timeout, metadata=metadata)
                return "OK"
            stream = call(request, timeout=timeout, metadata=metadata)
            for _ in stream:
                stream.cancel()
                return "OK"
            return stream.code().name
        except grpc.RpcError as error:
            return error.code().name


class AccessTest(TestCase):
    def setUp(self):
        super().setUp()
        self.tokens = self.folder / "tokens.textproto"
        self.write_tokens("infer", "train", "admin", "two", "revoked")
        self.home, self.elsewhere = Authority(self.folder, "home"), Authority(self.folder, "elsewhere")

    def write_tokens(self, *names):
        replace(self.tokens, "".join(entry(name, f"token-{name}", TOKENS[name] or ANY) for name in names))

    def serve(self, *args, config=""):
        data = tempfile.mkdtemp(dir=self.folder)
        return self.enterContext(Server("--model", "identity", "--data-dir", data, *map(str, args),
                                        config=config + "drain { delay {} }"))

    def tls(self, name, *args):
        certificate, key = self.home.sign(name)
        return self.serve("--tokens", self.tokens, "--tls-cert", certificate, "--tls-key", key, *args)

    def channel(self, server, authority=None, certificate=None, key=None):
        options = [("grpc.use_local_subchannel_pool", 1)]
        if authority is None:
            channel = grpc.insecure_channel(server.address, options)
        else:
            credentials = grpc.ssl_channel_credentials(
                read(authority.file), key and read(key), certificate and read(certificate))
            channel = grpc.secure_channel(server.address, credentials, options)
        self.addCleanup(channel.close)
        return channel

    def methods(self):
        """All that a server says it has."""
        with Server("--model", "identity") as server, server.client() as client:
            services = client.database.get_services()
            self.assertEqual(set(services), {service for service, _ in NEEDS})
            found = [Method(service, method) for service in services
                     for method in client.pool.FindServiceByName(service).methods]
        self.assertEqual({(method.service, method.name) for method in found}, set(NEEDS))
        return found

    def answers(self, methods):
        """What a server that lets everybody in answers to each."""
        channel = self.channel(self.serve())
        answers = {method: method.call(channel, []) for method in methods}
        self.assertFalse({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN", "INTERNAL",
                          "DEADLINE_EXCEEDED"} & set(answers.values()), answers)
        return answers

    def check_cells(self, name, channel, methods, expected):
        wrong = []
        for method, token in itertools.product(methods, TOKENS):
            code = method.call(channel, header(token))
            if code != expected(method, token):
                wrong.append(f"{name}, {token}: {method.service}/{method.name} is {code}, "
                             f"not {expected(method, token)}")
        self.assertEqual(wrong, [])
        return len(methods) * len(TOKENS)

    def test_every_method_with_every_token_over_every_connection(self):
        methods = self.methods()
        answers = self.answers(methods)

        def expected(method, token):
            needed = NEEDS[method.service, method.name]
            if needed is None:
                return answers[method]
            if TOKENS[token] is None:
                return "UNAUTHENTICATED"
            return answers[method] if TOKENS[token] & needed else "PERMISSION_DENIED"
        plain = self.serve("--tokens", self.tokens)
        tls = self.tls("server")
        mutual = self.tls("other-server", "--tls-client-ca", self.home.file)
        own, stranger = self.home.sign("caller"), self.elsewhere.sign("stranger")
        channels = {"plaintext": self.channel(plain), "TLS": self.channel(tls, self.home),
                    "mTLS": self.channel(mutual, self.home, *own)}
        revoked = next(method for method in methods if method.name == "ListModels")
        for channel in channels.values():
            self.assertEqual(revoked.call(channel, header("revoked")), "OK")
        self.write_tokens("infer", "train", "admin", "two")
        cells = 0
        for name, channel in channels.items():
            wait_until(lambda: revoked.call(channel, header("revoked")) == "UNAUTHENTICATED", 5)
            cells += self.check_cells(name, channel, methods, expected)
        unreachable = {"mTLS without a certificate": self.channel(mutual, self.home),
                       "mTLS with another authority's": self.channel(mutual, self.home, *stranger),
                       "TLS of another authority": self.channel(tls, self.elsewhere),
                       "plaintext to TLS": self.channel(tls)}
        for name, channel in unreachable.items():
            cells += self.check_cells(name, channel, methods, lambda *_: "UNAVAILABLE")
        print(f"{cells} cells")

    def test_who_may_not_call_is_refused_whatever_the_message(self):
        channel = self.channel(self.serve("--tokens", self.tokens))
        nonsense = bytes(55 << 20)  # who parsed it would say so
        for method in self.methods():
            if method.service not in (HEALTH, REFLECTION):
                self.assertEqual(method.call(channel, [], message=nonsense), "UNAUTHENTICATED", method.name)

    def test_health_and_reflection_have_rules(self):
        self.write_tokens("infer", "train", "admin", "two")
        server = self.serve("--tokens", self.tokens, config="access { health: RULE_TOKEN reflection: RULE_NOBODY }")
        channel = self.channel(server)
        own = [method for method in self.methods() if method.service in (HEALTH, REFLECTION)]
        for method, token in itertools.product(own, TOKENS):
            expected = "UNIMPLEMENTED" if method.service == REFLECTION else (
                "OK" if TOKENS[token] else "UNAUTHENTICATED")
            self.assertEqual(method.call(channel, header(token)), expected, (method.name, token))

    def test_what_a_refusal_says(self):
        server = self.serve("--tokens", self.tokens)
        channel = self.channel(server)
        call = channel.unary_unary(f"/{MODEL}/PromoteModel", None, None)
        self.assertEqual(
            self.fails_with("PERMISSION_DENIED", call, b"", metadata=header("two")).details(),
            "token 'two' is in infer, train; deweather.v1.ModelService/PromoteModel needs admin")
        for token in TOKENS:
            with self.assertRaises(grpc.RpcError) as caught:
                call(b"", metadata=header(token))
            self.assertNotIn("token-", caught.exception.details())
        self.assertNotIn("token-", server.errors())

    def test_tokens_that_cannot_be_used_keep_it_from_starting(self):
        for text, says in [("", "token is missing"), ("token {", ":1: "), (entry("a b", "x", ANY), "token[0].name is 'a b'"),
                           (None, "cannot open"), ("#" * (1 << 20) + "\n", "more than 1048576 bytes")]:
            if text is None:
                self.tokens.unlink()
            else:
                self.tokens.write_text(text)
            for extra in ((), ("--check-config",)):
                error = self.run_program("deweather-server", "--tokens", self.tokens, *extra, *ANYWHERE,
                                         status=1).stderr
                self.assertIn(str(self.tokens), error)
                self.assertIn(says, error)

    def test_no_token_is_in_what_is_said_of_a_mistake(self):
        token = self.run_program("deweather-server", "--make-token", "camera").stdout.strip()
        self.assertEqual(len(token), 43)
        server = self.serve("--tokens", self.tokens)
        warned = 0
        for text in (f'token {{ name: "a" sha256: {token} }}', f'token: "{token}"', f"north-camera {token}",
                     f"Bearer {token}", f'token {{ name: "{token}" sha256: "{"0" * 64}" group: GROUP_INFER }}'):
            with self.subTest(text=text.replace(token, "TOKEN")):
                self.tokens.write_text(text + "\n")
                error = self.run_program("deweather-server", "--tokens", self.tokens, "--check-config", status=1).stderr
                self.assertIn(f"{self.tokens}:1: ", error)
                self.assertNotIn(token[:8], error)
                warned += 1
                wait_until(lambda: server.errors().count("the tokens that were in use stay") >= warned, 5)
        self.assertEqual(server.stop(), 0)
        self.assertNotIn(token[:8], server.errors())
        for extra in ((), ("--check-config",)):
            error = self.run_program("deweather-server", "--tokens", token, *extra, *ANYWHERE, status=1).stderr
            self.assertIn("looks like a token", error)
            self.assertNotIn(token[:8], error)
        error = self.run_program("deweather-server", "--make-token", token, status=2).stderr
        self.assertIn("looks like a token", error)
        self.assertNotIn(token[:8], error)

    # A secret that is mounted late is no wrong usage: the server is started again until it is there.
    def test_what_cannot_be_read_is_a_failure(self):
        config = self.folder / "server.textproto"
        for flag, setting in (("--tokens", "access { tokens_file: '/nope' }"),
                              ("--tls-cert", "tls { certificate_file: '/nope' key_file: '/nope' }")):
            config.write_text(setting)
            flags = (flag, "/nope", *(("--tls-key", "/nope") if flag == "--tls-cert" else ()))
            for given in (flags, ("--config", config)):
                for extra in ((), ("--check-config",)):
                    error = self.run_program("deweather-server", *given, *extra, *ANYWHERE, status=1).stderr
                    self.assertIn("cannot open '/nope': No such file or directory", error)

    def test_a_file_that_vanishes_or_tears_leaves_the_old_tokens(self):
        server = self.serve("--tokens", self.tokens)
        channel = self.channel(server)
        models = channel.unary_unary(f"/{MODEL}/ListModels", None, None)
        whole = self.tokens.read_text()
        for tear in (lambda: self.tokens.unlink(), lambda: self.tokens.write_text(whole[:150]),
                     lambda: self.tokens.write_text(""), lambda: self.tokens.write_bytes(b"\xff\x00")):
            before = server.errors().count("the tokens that were in use stay")
            tear()
            wait_until(lambda: server.errors().count("the tokens that were in use stay") == before + 1, 5)
            wait_until(lambda: server.metrics()["deweather_tokens_file_ok"] == 0, 5)
            models(b"", metadata=header("infer"))
        self.write_tokens("infer")
        wait_until(lambda: "1 tokens of" in server.errors(), 5)
        wait_until(lambda: server.metrics()["deweather_tokens_file_ok"] == 1, 5)
        models(b"", metadata=header("infer"))
        self.fails_with("UNAUTHENTICATED", models, b"", metadata=header("train"))

    def test_sighup_reads_tokens_at_once_and_ends_nothing(self):
        server = self.serve("--tokens", self.tokens)
        wait_until(lambda: "5 tokens of" in server.errors(), 5)
        for count in range(2, 6):
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: server.errors().count("5 tokens of") >= count, 5)
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.stop(), 0)

    def test_a_token_that_goes_ends_what_is_open(self):
        server = self.serve("--tokens", self.tokens)
        hold = threading.Event()
        self.addCleanup(hold.set)
        with Server("--model", "identity") as other, other.client() as client:
            message = client.message("deweather.v1.RestoreStreamRequest")
        frames = [message(start={}), message(frame={"image": encode(noise(8, 8))})]

        def then_wait(*messages):
            yield from messages
            hold.wait()
        channel = self.channel(server)
        options = {"metadata": header("revoked"), "timeout": 60}
        calls = [channel.stream_unary(f"/{TRAINING}/UploadDataset").future(then_wait(), **options),
                 channel.stream_unary(f"/{MODEL}/ImportModel").future(then_wait(), **options),
                 channel.stream_stream(f"/{RESTORATION}/RestoreLarge")(then_wait(), **options),
                 channel.stream_stream(f"/{RESTORATION}/RestoreStream")(
                     then_wait(*(frame.SerializeToString() for frame in frames)), **options)]
        next(calls[-1])  # it is open, and so are those before it
        self.write_tokens("infer", "admin", "two", "revoked")
        wait_until(lambda: "4 tokens of" in server.errors(), 5)
        self.assertFalse(any(call.done() for call in calls[:2]))
        start = time.monotonic()
        self.write_tokens("infer", "train", "admin", "two")
        for call in calls:
            self.assertEqual(call.code().name, "UNAUTHENTICATED")
        self.assertLess(time.monotonic() - start, 2)


if __name__ == "__main__":
    main()
