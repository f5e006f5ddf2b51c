"""Servers that run no jobs: one that may not, over a folder that is read-only, and calls to several at once."""

import json
import subprocess
import tempfile
import threading
import unittest

from harness import BIN, ROOT, SERVICE, Server, TestCase, encode, grpc, main, program, smooth, wait_until

FIXTURES = ROOT / "tests/model/fixtures"
AT_ONCE = "drain { delay {} timeout {} }"


def works(*command):
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
class ReplicaTest(TestCase):
    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        self.data.mkdir()
        self.first, self.second = self.store("fme"), self.store("moe")
        self.read_only = ["unshare", "-rm", "sh", "-c",
                          'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', str(self.data)]

    def store(self, fixture):
        done = self.run_program("deweather-train", "import", FIXTURES / f"{fixture}.safetensors", self.data,
                                "--name", "tiny")
        return done.stdout.splitlines()[-1].split()[3]

    def start(self, *args, model="identity", **options):
        return Server("--model", model, "--data-dir", str(self.data), "--precision", "f32", *args, **options)

    def replica(self, *args, **options):
        if not works(*self.read_only, "true"):
            self.skipTest("nothing can be mounted here")
        return self.start("--no-jobs", *args, command=[*self.read_only, program("deweather-server")], **options)

    def client(self, server, *args, status=0):
        done = self.run_program("deweather", *args, "--server", server.address, "--json", status=status)
        return json.loads(done.stdout)

    def refused(self, server, *args):
        error = self.client(server, *args, status=1)["error"]
        return error["code"], error["reason"]

    def live(self, server):
        return self.client(server, "models", "get", "tiny")["live_version"]

    def test_it_follows_what_the_other_makes_live(self):
        with self.start() as main_server, self.replica() as replica:
            self.client(main_server, "models", "promote", "tiny", self.first)
            wait_until(lambda: self.live(replica) == self.first, 120)
            self.client(main_server, "models", "promote", "tiny", self.second)
            wait_until(lambda: self.live(replica) == self.second, 120)
            with replica.client() as caller:
                self.assertEqual(caller.restore(encode(smooth(64, 64)), model="tiny").model.version, self.second)
            self.assertEqual(replica.stop(), 0)
        with self.replica(model="tiny") as replica:  # by name, from the start
            self.assertEqual(self.live(replica), self.second)

    def test_what_it_cannot_do_it_refuses_with_the_reason(self):
        with self.start() as main_server:
            self.client(main_server, "models", "promote", "tiny", self.first)
        before = sorted(str(path) for path in self.data.rglob("*"))
        with self.replica() as replica:
            off = ("FAILED_PRECONDITION", "JOBS_OFF")
            self.assertEqual(self.refused(replica, "jobs", "list"), off)
            self.assertEqual(self.refused(replica, "datasets", "list"), off)
            self.assertEqual(self.refused(replica, "models", "promote", "--job", "0123456789ab"), off)
            self.assertEqual(self.refused(replica, "models", "promote", "tiny", self.second, "--evaluate", "pairs"), off)
            error = self.client(replica, "jobs", "list", status=1)["error"]
            self.assertIn("training.enabled is false (--no-jobs)", error["message"])
            read_only = ("FAILED_PRECONDITION", "READ_ONLY")
            self.assertEqual(self.refused(replica, "models", "promote", "tiny", self.second), read_only)
            self.assertEqual(self.refused(replica, "models", "delete", "tiny", self.second), read_only)
            self.assertEqual(self.refused(replica, "models", "import", FIXTURES / "dense.safetensors"), read_only)
            self.assertEqual(self.live(replica), self.first)
        self.assertEqual(sorted(str(path) for path in self.data.rglob("*")), before)

    def test_metrics_of_jobs_are_those_of_the_server_that_runs_them(self):
        with self.start() as main_server, self.start("--no-jobs") as replica:
            jobs = {name for name in main_server.metrics() if name.startswith("deweather_training_")}
            self.assertIn('deweather_training_ended_total{state="FAILED"}', jobs)
            self.assertEqual(main_server.metrics()["deweather_runs_jobs"], 1)
            metrics = replica.metrics()
            self.assertEqual(metrics["deweather_runs_jobs"], 0)
            self.assertFalse(jobs & metrics.keys())
            self.assertGreater(metrics["deweather_data_size_bytes"], metrics["deweather_data_free_bytes"])

    def test_an_empty_folder_will_do(self):
        empty = self.folder / "empty"
        empty.mkdir()
        with Server("--model", "identity", "--data-dir", str(empty), "--no-jobs") as server:
            self.assertEqual(self.client(server, "models", "list")["models"][0]["name"], "identity")
            self.assertEqual(server.stop(), 0)
        self.assertEqual(list(empty.iterdir()), [])


class SeveralServersTest(TestCase):
    """One name, two servers: 127.0.0.1 and 127.0.0.2, at one port."""

    def setUp(self):
        super().setUp()
        hosts = self.folder / "hosts"
        hosts.write_text("127.0.0.1 localhost servers.test\n127.0.0.2 servers.test\n")
        self.alias = ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
        if not works(*self.alias, "true"):
            self.skipTest("no names can be made here")
        self.picture = self.folder / "in.png"
        self.picture.write_bytes(encode(smooth(64, 64)))

    def pair(self, config=AT_ONCE):
        first = self.enterContext(Server("--model", "identity", config=config))
        self.port = first.address.rpartition(":")[2]
        return first, self.enterContext(Server("--model", "identity", config=config, listen=f"127.0.0.2:{self.port}"))

    def restore(self, *args):
        outputs = tempfile.mkdtemp(dir=self.folder)
        return subprocess.run([*self.alias, program("deweather"), "restore", *map(str, args), "-o", outputs,
                               "--server", f"servers.test:{self.port}"], capture_output=True, text=True,
                              timeout=60, check=False)

    def served(self, server):
        return server.metrics()['deweather_restore_requests_total{code="OK"}']

    def pictures(self, count):
        folder = self.folder / "in"
        folder.mkdir()
        for i in range(count):
            (folder / f"{i}.png").write_bytes(self.picture.read_bytes())
        return folder

    def test_calls_go_to_all_addresses_of_a_name(self):
        first, second = self.pair()
        done = self.restore(self.pictures(20))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.served(first) + self.served(second), 20)
        self.assertGreater(min(self.served(first), self.served(second)), 4)

    def test_one_that_is_gone_is_passed_over(self):
        first, second = self.pair()
        second.process.kill()
        second.process.wait()
        done = self.restore(self.pictures(6))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.served(first), 6)

    def test_one_that_drains_is_passed_over(self):
        first, second = self.pair("drain { delay {} timeout { seconds: 20 } }")
        sent = threading.Event()

        def half_a_picture():
            yield caller.message("deweather.v1.RestoreLargeRequest")(start={"image_bytes": 1000})
            sent.wait()

        with second.client() as caller:
            held = caller.method(SERVICE, "RestoreLarge")(half_a_picture())  # it drains for as long
            wait_until(lambda: second.metrics()["deweather_inflight_bytes"] > 0)
            second.process.terminate()
            wait_until(lambda: caller.health() == "NOT_SERVING")
            wait_until(lambda: self.is_refused(caller))
            done = self.restore(self.pictures(6))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIsNone(second.process.poll())
            sent.set()
            held.cancel()
        self.assertEqual(self.served(first), 6)

    def is_refused(self, caller):
        try:
            caller.restore(self.picture.read_bytes())
        except grpc.RpcError as error:
            return error.code().name == "UNAVAILABLE"
        return False


if __name__ == "__main__":
    main()
