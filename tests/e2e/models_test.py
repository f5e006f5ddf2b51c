"""Versions of a model: imported, promoted by the client, kept over a restart, swapped under load."""

import json
import signal
import threading
import unittest

from harness import BIN, ROOT, SERVICE, Server, TestCase, decode, encode, main, np, smooth, wait_until

FIXTURES = ROOT / "tests/model/fixtures"


@unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
class ModelsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.first, self.second = self.store("fme"), self.store("moe")

    def store(self, fixture):
        done = self.run_program("deweather-train", "import", FIXTURES / f"{fixture}.safetensors",
                                self.folder, "--name", "tiny")
        words = done.stdout.splitlines()[-1].split()
        self.assertEqual(words[:3], ["model", "tiny", "version"])
        return words[3]

    def start(self, *args, **options):
        return Server("--model", "identity", "--data-dir", str(self.folder), "--precision", "f32",
                      *args, **options)

    def models(self, server, *args, status=0):
        done = self.run_program("deweather", "models", *args, "--server", server.address, "--json",
                                status=status)
        return json.loads(done.stdout)

    def refused(self, server, *args):
        error = self.models(server, *args, status=1)["error"]
        return error["code"], error["reason"]

    def test_promote_restart_rollback(self):
        with self.start() as server:
            self.assertEqual([model["name"] for model in self.models(server, "list")["models"]],
                             ["identity", "tiny"])
            self.assertIsNone(self.models(server, "get", "tiny")["live_version"])
            self.models(server, "promote", "tiny", self.first)
            promoted = self.models(server, "promote", "tiny", self.second)
            self.assertEqual(promoted["live_version"], self.second)
            self.assertEqual(promoted["previous_version"], self.first)
            self.assertEqual({version["version"] for version in promoted["versions"]},
                             {self.first, self.second})
            self.assertEqual(server.stop(), 0)
        with self.start() as server:
            with server.client() as client:
                reply = client.restore(encode(smooth(64, 64)), model="tiny")
            self.assertEqual(reply.model.version, self.second)
            self.assertEqual(self.models(server, "rollback", "tiny")["live_version"], self.first)
            with server.client() as client:
                reply = client.restore(encode(smooth(64, 64)), model="tiny")
            self.assertEqual(reply.model.version, self.first)
            series = [name for name in server.metrics() if name.startswith("deweather_model_info")]
            self.assertFalse([name for name in series if self.second in name])

    def test_tables_are_for_people(self):
        with self.start() as server:
            self.models(server, "promote", "tiny", self.first)
            table = self.run_program("deweather", "models", "list", "--server", server.address).stdout
            self.assertRegex(table, rf"(?m)^tiny +{self.first} ")
            text = self.run_program("deweather", "models", "get", "tiny", "--server",
                                    server.address).stdout
            self.assertIn(self.first, text)

    def test_errors_are_one_line(self):
        with self.start() as server:
            self.assertEqual(self.refused(server, "get", "snow"), ("NOT_FOUND", "UNKNOWN_MODEL"))
            self.assertEqual(self.refused(server, "promote", "tiny", "0123456789ab"),
                             ("NOT_FOUND", "UNKNOWN_VERSION"))
            self.assertEqual(self.refused(server, "rollback", "tiny"),
                             ("FAILED_PRECONDITION", "NO_PREVIOUS_VERSION"))
            weights = self.folder / "models/tiny" / self.second / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1])
            self.assertEqual(self.refused(server, "promote", "tiny", self.second),
                             ("DATA_LOSS", "TORN_VERSION"))
            done = self.run_program("deweather", "models", "get", "snow", "--server",
                                    server.address, status=1)
            self.assertEqual(len(done.stderr.splitlines()), 1)
            self.assertTrue(done.stderr.startswith("NOT_FOUND: "))

    def test_a_promotion_that_is_not_waited_for_may_go_on(self):
        with self.start() as server:
            for args in [("promote", "tiny", self.first), ("rollback", "tiny")]:
                error = self.models(server, *args, "--timeout", "1us", status=1)["error"]
                self.assertEqual(error["code"], "DEADLINE_EXCEEDED")
                self.assertIn("may go on: deweather models get tiny", error["message"])

    def test_two_servers_share_a_folder(self):
        at_once = "drain { delay {} timeout {} }"  # no wait for the first one's jobs
        with self.start() as one, self.start(config=at_once) as other:
            self.models(one, "promote", "tiny", self.first)
            self.eventually(other, self.first)
            self.models(other, "promote", "tiny", self.second)
            self.eventually(one, self.second)

    def test_health_knows_each_model_that_is_live(self):
        tiny = f"{SERVICE}/tiny"
        at_once = "drain { delay {} timeout {} }"
        with self.start() as one, self.start(config=at_once) as other, one.client() as caller, \
                other.client() as elsewhere:
            self.assertEqual(caller.health(f"{SERVICE}/identity"), "SERVING")
            self.fails_with("NOT_FOUND", caller.health, tiny)
            request = elsewhere.message("grpc.health.v1.HealthCheckRequest")(service=tiny)
            watch = elsewhere.method("grpc.health.v1.Health", "Watch")(request, timeout=60)
            self.assertEqual(next(watch).status, 3)  # SERVICE_UNKNOWN
            self.models(one, "promote", "tiny", self.first)
            self.assertEqual(caller.health(tiny), "SERVING")
            self.assertEqual(next(watch).status, 1)  # SERVING: it follows the folder
            other.process.send_signal(signal.SIGTERM)
            self.assertEqual(next(watch).status, 2)  # NOT_SERVING
            watch.cancel()
        with self.start() as server, server.client() as caller:
            self.assertEqual(caller.health(tiny), "SERVING")

    def eventually(self, server, version):
        wait_until(lambda: self.models(server, "get", "tiny")["live_version"] == version)

    def test_swaps_under_load(self):
        picture = encode(smooth(200, 150))
        with self.start() as server, server.client() as client:
            expected = {}
            for version in (self.first, self.second):
                self.models(server, "promote", "tiny", version)
                expected[version] = decode(client.restore(picture, model="tiny").image).astype(int)
            self.assertGreater(np.abs(expected[self.first] - expected[self.second]).max(), 16)
            stop, replies, failures = threading.Event(), [], []

            def call():
                with server.client() as caller:
                    while not stop.is_set():
                        try:
                            replies.append(caller.restore(picture, model="tiny"))
                        except Exception as error:  # pylint: disable=broad-except
                            failures.append(error)

            callers = [threading.Thread(target=call) for _ in range(3)]
            for caller in callers:
                caller.start()
            for _ in range(10):
                self.models(server, "rollback", "tiny")
            stop.set()
            for caller in callers:
                caller.join()
        self.assertEqual(failures, [])
        self.assertGreater(len({reply.model.version for reply in replies}), 1)
        for reply in replies:
            difference = np.abs(decode(reply.image) - expected[reply.model.version]).max()
            self.assertLessEqual(difference, 1)  # batches of other sizes round otherwise


if __name__ == "__main__":
    main()
