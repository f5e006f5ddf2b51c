"""The server's log: every line is JSON, a request's id leads from who calls to the line of its call, and what is
nobody's business is not in it."""

import base64
import collections
import contextlib
import hashlib
import json
import os
import pty
import threading
import time

from harness import SERVICE, Server, TestCase, encode, main, noise, program, wait_until

from google.protobuf import text_format  # harness sees to it that it is there

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACE_PARENT = f"00-{TRACE}-{PARENT}-01"
STAGES = ("decode_seconds", "queue_seconds", "infer_seconds", "blend_seconds", "encode_seconds")
SECRET = "t0ken-that-nobody-may-read"
PIXELS = b"PIXELS-OF-A-CALLER"
JOB = """
name: "traced"
model { kind: KIND_FME embed_dim: 16 heads: 2 head_dim: 8 channels: 4 experts: 4 kept: 2 residual: true
  tile_px: 32 overlap_px: 8 }
data { clean { dir: "scenes" weather: "rain" } crop_px: 32 }
steps: 10
"""


def headers(request_id=None, trace_parent=None):
    named = [("x-request-id", request_id), ("traceparent", trace_parent), ("authorization", f"Bearer {SECRET}"),
             ("x-of-a-caller", SECRET)]
    return [(name, value) for name, value in named if value is not None]


class LogsTest(TestCase):
    def lines(self, server):
        """All that the server has logged, parsed."""
        text = server.errors()
        self.assertTrue(text.isascii() and text.endswith("\n"), text[-200:])
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        for line in lines:
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertIn(line["level"], ("debug", "info", "warning", "error"))
            self.assertLess(len(json.dumps(line)), 4096)
        return lines

    def serve(self, settings="", **options):
        return Server("--model", "identity", config="drain { delay {} } " + settings, **options)

    def restore(self, client, image, metadata=()):
        """Of one call: its code, and the id that comes back with it."""
        call = client.method(SERVICE, "Restore").future(client.request(image), timeout=60, metadata=metadata)
        found = dict(call.initial_metadata() or ()) or dict(call.trailing_metadata() or ())
        return call.code().name, found.get("x-request-id")

    def stream(self, client, image, frames, metadata):
        kind = client.message("deweather.v1.RestoreStreamRequest")
        messages = [kind(start={}), *(kind(frame={"id": i, "image": image}) for i in range(frames))]
        return list(client.method(SERVICE, "RestoreStream")(iter(messages), timeout=60, metadata=metadata))

    def test_an_id_leads_to_the_line_of_its_call(self):
        picture = encode(noise(64, 48))
        with self.serve() as server, server.client() as client:
            self.assertEqual(self.restore(client, picture, headers("mine", TRACE_PARENT)), ("OK", "mine"))
            self.assertEqual(self.restore(client, PIXELS, headers("wrong")), ("INVALID_ARGUMENT", "wrong"))
            code, made = self.restore(client, picture, headers("x" * 129, "00-" + "0" * 32 + f"-{PARENT}-01"))
            self.assertEqual(code, "OK")
            self.assertRegex(made, "^[0-9a-f]{32}$")
            self.assertEqual(server.stop(), 0)
            found = {line["request_id"]: line for line in self.lines(server) if "request_id" in line}
        self.assertEqual(set(found), {"mine", "wrong", made})
        mine = found["mine"]
        self.assertEqual((mine["trace_id"], mine["parent_id"]), (TRACE, PARENT))
        self.assertEqual((mine["method"], mine["code"], mine["level"]), (f"{SERVICE}/Restore", "OK", "info"))
        self.assertEqual((mine["model"], mine["tiles"], mine["pictures"]), ("identity", 1, 1))
        self.assertGreater(mine["bytes_in"], len(picture))
        self.assertGreater(mine["bytes_out"], 64 * 48)
        self.assertLessEqual(sum(mine[stage] for stage in STAGES), mine["seconds"])
        self.assertGreater(mine["decode_seconds"], 0)
        self.assertNotIn("trace_id", found[made])
        self.assertEqual((found["wrong"]["code"], found["wrong"]["reason"], found["wrong"]["level"]),
                         ("INVALID_ARGUMENT", "INVALID_IMAGE", "info"))

    def soak(self, server, number, seconds, calls):
        """Calls of every kind, one after the other; appends (id, code) of each."""
        picture, end, i = encode(noise(40, 40, seed=number)), time.monotonic() + seconds, 0
        with server.client() as client:
            while time.monotonic() < end:
                i += 1
                name = f"{number}.{i}"
                if i % 5 == 0:
                    self.stream(client, picture, 3, headers(name))
                    calls.append((name, "OK"))
                elif i % 7 == 0:
                    calls.append((name, self.restore(client, PIXELS, headers(name))[0]))
                elif i % 11 == 0:
                    get = client.method("deweather.v1.ModelService", "GetModel")
                    wanted = client.message("deweather.v1.GetModelRequest")(name="no\n\"such\" \x1b[2Jmodel")
                    calls.append((name, self.fails_with("INVALID_ARGUMENT", get, wanted, timeout=60,
                                                        metadata=headers(name)).code().name))
                else:
                    calls.append((name, self.restore(client, picture, headers(name, TRACE_PARENT))[0]))

    def test_a_soak(self):
        for folder in ("data", "scenes"):
            (self.folder / folder).mkdir()
        (self.folder / "scenes/1.png").write_bytes(encode(noise(64, 64)))
        launch = 'launch: ["sh", "-c", "echo trace=$TRACEPARENT; exit 2", "sh"]'
        sets = f'registered {{ name: "scenes" dir: "{self.folder}/scenes" }}'
        groups = "group: GROUP_INFER group: GROUP_TRAIN group: GROUP_ADMIN"
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        (self.folder / "tokens").write_text(f'token {{ name: "camera-7" sha256: "{digest}" {groups} }}')
        settings = (f'data_dir: "{self.folder}/data" training {{ {launch} }} datasets {{ {sets} }} '
                    f'access {{ tokens_file: "{self.folder}/tokens" reflection: RULE_ANYONE }} '
                    "log { max_requests_per_second: 1000000 }")
        calls = []
        with self.serve(settings) as server, server.client() as client:
            threads = [threading.Thread(target=self.soak, args=(server, n, 5, calls)) for n in range(4)]
            for thread in threads:
                thread.start()
            job = self.job(client)
            stranger = [("authorization", f"Bearer {SECRET[::-1]}"), ("x-request-id", "stranger")]
            self.assertEqual(self.restore(client, PIXELS, stranger), ("UNAUTHENTICATED", "stranger"))
            calls.append(("stranger", "UNAUTHENTICATED"))
            for thread in threads:
                thread.join()
            self.assertEqual(server.stop(), 0)
            text, lines = server.errors(), self.lines(server)
        self.assertGreater(len(calls), 40)
        self.check_calls(lines, calls)
        self.check_job(lines, job)
        for private in (SECRET, SECRET[::-1], "Bearer", digest, PIXELS.decode(), PIXELS.hex(), base64.b64encode(PIXELS).decode()[:20],
                        encode(noise(40, 40, seed=1))[100:110].hex()):
            self.assertNotIn(private, text)

    def check_calls(self, lines, calls):
        found = collections.defaultdict(list)
        for line in lines:
            if "method" in line:
                found[line["request_id"]].append(line)
        for name, code in calls:
            self.assertEqual([line["code"] for line in found[name]], [code], name)
            line = found[name][0]
            if code != "UNAUTHENTICATED":
                self.assertEqual((line["caller"], line["peer"][:15]), ("camera-7", "ipv4:127.0.0.1:"))
            if "pictures" in line and "frames" not in line:
                self.assertLessEqual(sum(line[stage] for stage in STAGES), line["seconds"], line)
            if "frames" in line:
                self.assertEqual((line["frames"], line["pictures"], line["tiles"]), (3, 3, 3))

    def job(self, client):
        """A job that was submitted in a trace, once its program has ended."""
        submit = client.method("deweather.v1.TrainingService", "SubmitJob")
        get = client.method("deweather.v1.TrainingService", "GetJob")
        request = client.message("deweather.v1.SubmitJobRequest")()
        text_format.Parse(JOB, request.config)
        job = submit(request, timeout=60, metadata=headers("job", TRACE_PARENT))
        wanted = client.message("deweather.v1.GetJobRequest")(id=job.id)
        wait_until(lambda: get(wanted, timeout=60, metadata=headers()).end_time.seconds > 0)
        return get(wanted, timeout=60, metadata=headers())

    def check_job(self, lines, job):
        self.assertEqual(job.trace_parent, TRACE_PARENT)
        self.assertIn(f"trace={TRACE_PARENT}", job.reason)
        told = [line for line in lines if line.get("job_id") == job.id]
        self.assertGreaterEqual(len(told), 3)  # submitted, started, failed
        self.assertEqual({line["trace_id"] for line in told}, {TRACE})

    def test_lines_and_those_left_out_add_up(self):
        picture = encode(noise(8, 8))
        calls, start = [], time.monotonic()

        def load(server):
            with server.client() as client:
                for _ in range(300):
                    calls.append(self.restore(client, picture)[0])

        with self.serve("log { max_requests_per_second: 5 }") as server:
            threads = [threading.Thread(target=load, args=(server,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(server.stop(), 0)
            took = time.monotonic() - start
            lines = self.lines(server)
        about = [line for line in lines if "method" in line]
        self.assertEqual(calls, ["OK"] * 1200)
        self.assertEqual(len(about) + sum(line.get("suppressed", 0) for line in lines), len(calls))
        self.assertLessEqual(len(about), 5 * (took + 1))
        self.assertGreater(len(about), 4)

    def test_a_log_that_nobody_reads_stops_nobody(self):
        fifo = self.folder / "log"
        os.mkfifo(fifo)
        command = ["sh", "-c", f'exec "{program("deweather-server")}" "$@" 2>"{fifo}"', "sh"]
        unread = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, unread)
        with self.serve("log { max_requests_per_second: 1000000 }", command=command) as server, \
                server.client() as client:
            get = client.method("deweather.v1.ModelService", "GetModel")
            wanted = client.message("deweather.v1.GetModelRequest")(name="n" * 900)
            for i in range(1500):  # more than the pipe and the server's room for lines hold
                self.fails_with("INVALID_ARGUMENT", get, wanted, timeout=60, metadata=headers(f"{i:0128d}"))
            self.assertEqual(self.restore(client, encode(noise(8, 8)))[0], "OK")
            self.assertEqual(server.stop(), 0)
        held = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(unread, 1 << 16):
                held += piece
        for line in held.split(b"\n")[:-1]:
            json.loads(line)

    def test_a_terminal_gets_text(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        command = ["sh", "-c", f'exec "{program("deweather-server")}" "$@" 2>{os.ttyname(theirs)}', "sh"]
        with self.serve(command=command) as server, server.client() as client:
            self.assertEqual(self.restore(client, encode(noise(8, 8)), headers("mine"))[0], "OK")
            self.assertEqual(server.stop(), 0)
        lines = os.read(ours, 1 << 16).decode().splitlines()
        call = [line for line in lines if "request_id=mine" in line]
        self.assertEqual(len(call), 1, lines)
        self.assertRegex(call[0], r'^\d{4}-\S+ \x1b\[32minfo\x1b\[m "Restore: OK" request_id=mine method=\S+/Restore ')

    def test_a_level_leaves_lines_out(self):
        with self.serve("log { level: LEVEL_WARN }") as server, server.client() as client:
            self.assertEqual(self.restore(client, encode(noise(8, 8)))[0], "OK")
            self.assertEqual(server.stop(), 0)
            self.assertEqual(self.lines_or_none(server), [])
        with self.serve("log { level: LEVEL_WARN }", env={"SPDLOG_LEVEL": "info"}) as server:
            self.assertEqual(server.stop(), 0)
            self.assertIn("model identity", server.errors())

    def lines_or_none(self, server):
        return self.lines(server) if server.errors() else []


if __name__ == "__main__":
    main()
