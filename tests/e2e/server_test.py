"""`deweather-server`: flags, configuration, ports, /metrics, and how it goes down."""

import signal
import threading
import unittest

from harness import ROOT, SERVICE, Server, TestCase, decode, encode, grpc, main, noise, np, smooth, wait_until

LARGE = (4000, 3000)
SHIPPED = ROOT / "model/weights/deweather-rain.safetensors"


class StartTest(TestCase):
    def refuses(self, status, *args):
        """One line on stderr beside the log; the line."""
        done = self.run_program("deweather-server", *args, status=status)
        lines = [l for l in done.stderr.splitlines() if l.startswith("deweather-server: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertEqual(done.stdout, "")
        return lines[0]

    def config(self, text):
        path = self.folder / "server.textproto"
        path.write_text(text, encoding="utf-8")
        return path

    def test_help_and_version(self):
        self.assertIn("--listen", self.run_program("deweather-server", "--help").stdout)
        version = self.run_program("deweather-server", "--version").stdout
        self.assertRegex(version, r"^deweather-server \d+\.\d+\.\d+\n$")

    def test_the_reference_configuration_is_sound(self):
        reference = ROOT / "deploy/server.textproto"
        self.run_program("deweather-server", "--check-config", "--config", reference)

    def test_configuration_errors_name_file_line_value_and_limit(self):
        path = self.config("model: 'identity'\nlimits {\n  max_send_bytes: 5\n}\n")
        line = self.refuses(2, "--config", path)
        for words in (f"{path}:3: ", "limits.max_send_bytes is 5", "[1024, 2147483647]"):
            self.assertIn(words, line)
        self.assertIn("no field named", self.refuses(2, "--config", self.config("colour: 3")))
        self.refuses(2, "--config", self.folder / "none.textproto")

    def test_a_launcher_that_is_not_there(self):
        path = self.config("training { launch: 'no-such-program' launch: 'deweather-train' }")
        self.assertIn("'no-such-program'", self.refuses(2, "--check-config", "--config", path))
        path = self.config("training { launch: 'nice' launch: 'deweather-train' }")
        self.run_program("deweather-server", "--check-config", "--config", path)

    def test_wrong_flags(self):
        for args in [("--listen", "here"), ("--device", "gpu"), ("--precision", "f64"),
                     ("--data-dir", "/no/such/folder")]:
            self.assertIn(args[1], self.refuses(2, *args))
        self.run_program("deweather-server", "--no-such-flag", status=2)
        self.run_program("deweather-server", "surplus", status=2)

    def test_sighup_says_what_is_read_again(self):
        tokens = self.folder / "tokens.textproto"
        tokens.write_text(f'token {{ name: "a" sha256: "{"0" * 64}" group: GROUP_INFER }}\n')
        for args, words in (((), "there are no certificates and no tokens to read again"),
                            (("--tokens", tokens), "SIGHUP: tokens are read again")):
            with Server("--model", "identity", *args) as server:
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda: words in server.errors(), 10)
                self.assertEqual(server.stop(), 0)

    def test_flags_override_the_configuration(self):
        path = self.config("model: 'no-such-model' listen: '127.0.0.1:1'")
        with Server("--model", "identity", config=path.read_text()) as server:
            self.assertEqual(server.stop(), 0)

    def test_unusable_models(self):
        free = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
        self.assertIn("no-such-model", self.refuses(1, "--model", "no-such-model", *free))
        self.assertIn("none.safetensors", self.refuses(1, "--model", "./none.safetensors", *free))
        broken = self.folder / "broken.safetensors"
        for data in (b"", b"\xff" * 8, (1 << 40).to_bytes(8, "little") + b"{}", bytes(100)):
            broken.write_bytes(data)
            self.refuses(1, "--model", broken, *free)

    def test_ports_in_use_are_named(self):
        with Server("--model", "identity") as server:
            rest = ("--model", "identity", "--listen")
            line = self.refuses(1, *rest, server.address)
            self.assertIn(server.address, line)
            self.assertIn("Address already in use", line)
            line = self.refuses(1, *rest, "127.0.0.1:0", "--metrics-listen", server.metrics_address)
            self.assertIn(server.metrics_address, line)


class RunTest(TestCase):
    def test_metrics(self):
        with Server("--model", "identity") as server, server.client() as client:
            requests = 'deweather_restore_requests_total{code="%s"}'
            self.assertEqual(server.metrics()[requests % "OK"], 0)
            client.restore(encode(noise(300, 300)))
            self.fails_with("INVALID_ARGUMENT", client.restore, b"")
            wait_until(lambda: server.metrics()[requests % "INVALID_ARGUMENT"] == 1)
            metrics = server.metrics()
            self.assertEqual(metrics[requests % "OK"], 1)
            self.assertEqual(metrics["deweather_queue_tiles"], 0)
            self.assertGreater(metrics["process_resident_memory_bytes"], 1e6)
            self.assertEqual(metrics['deweather_model_info{model="identity",version="builtin"}'], 1)
            series = {name.split("_bucket")[0] for name in metrics}
            self.assertLess(len(series), 300)

    def test_limits_of_the_configuration_hold(self):
        limits = "limits { max_receive_bytes: 50000 max_image_pixels: 100 } drain { delay {} }"
        with Server("--model", "identity", config=limits) as server, server.client() as client:
            error = self.fails_with("RESOURCE_EXHAUSTED", client.restore, bytes(50001))
            self.assertIn("50000", error.details())
            error = self.fails_with("INVALID_ARGUMENT", client.restore, encode(noise(11, 10)))
            self.assertIn("100", error.details())
            client.restore(encode(noise(10, 10)))


class DrainTest(TestCase):
    def test_calls_in_flight_are_finished(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server("--model", "identity") as server, server.client() as client:
                pixels = smooth(*LARGE)
                call = client.start_restore(encode(pixels, compress_level=1))
                wait_until(lambda s=server: s.metrics()["deweather_inflight_requests"] > 0)
                server.process.send_signal(number)
                np.testing.assert_array_equal(decode(call.result().image), pixels)
                self.assertEqual(server.process.wait(30), 0, server.errors())

    def test_health_says_so_first_and_calls_are_still_served(self):
        with Server("--model", "identity", config="drain { delay { seconds: 2 } }") as server:
            with server.client() as client:
                pixels = noise(40, 30)
                client.restore(encode(pixels))
                self.assertEqual(client.health(SERVICE), "SERVING")
                server.process.send_signal(signal.SIGTERM)
                wait_until(lambda: client.health(SERVICE) == "NOT_SERVING")
                self.assertEqual(client.health(), "NOT_SERVING")
                np.testing.assert_array_equal(decode(client.restore(encode(pixels)).image), pixels)
                self.assertEqual(server.process.wait(30), 0)

    def test_watchers_are_told_and_do_not_hold_it_up(self):
        with Server("--model", "identity") as server, server.client() as client:
            request = client.message("grpc.health.v1.HealthCheckRequest")()
            watch = client.method("grpc.health.v1.Health", "Watch")(request)
            self.assertEqual(next(watch).status, 1)
            seen = []

            def follow():
                try:
                    seen.extend(reply.status for reply in watch)
                except grpc.RpcError:
                    pass

            follower = threading.Thread(target=follow)
            follower.start()
            self.assertEqual(server.stop(timeout=10), 0)
            follower.join()
            self.assertIn(2, seen)

    @unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED} is not there")
    def test_what_takes_too_long_is_cancelled(self):
        config = "drain { delay {} timeout { nanos: 1000000 } }"
        with Server("--model", str(SHIPPED), config=config) as server, server.client() as client:
            call = client.start_restore(encode(smooth(*LARGE), compress_level=1))
            wait_until(lambda: server.metrics()["deweather_queue_tiles"] > 0)
            self.assertEqual(server.stop(), 0)
            self.assertIn(call.code().name, ("CANCELLED", "UNAVAILABLE"))

    def test_a_second_signal_ends_it_at_once(self):
        with Server("--model", "identity", config="drain { delay { seconds: 60 } }") as server:
            with server.client() as client:
                server.process.send_signal(signal.SIGTERM)
                wait_until(lambda: client.health() == "NOT_SERVING")
                self.assertEqual(server.stop(timeout=10), -signal.SIGTERM)


if __name__ == "__main__":
    main()
