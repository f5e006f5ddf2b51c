"""Faults planted around the model of the real server (tests/reliability/faulty_server.cc)."""

import time

from harness import ROOT, Server, TestCase, decode, encode, main, noise, np, program, wait_until

THROW, NAN, MEMORY, SLOW, DEVICE, HANG = range(1, 7)


def marked(fault):
    """A picture of one tile that asks for a fault."""
    pixels = noise(60, 50)
    pixels[0, 0] = (255, 0, fault)
    return encode(pixels)


def faulty_server(config="drain { delay {} }", args=(), **env):
    return Server("--model", "identity", *args, config=config, command=[program("../tests/faulty_server")], env=env)


class FaultsTest(TestCase):
    def serves(self, client):
        pixels = noise(300, 200)
        np.testing.assert_array_equal(decode(client.restore(encode(pixels)).image), pixels)

    def test_only_the_culprit_fails(self):
        codes = {THROW: "INTERNAL", NAN: "INTERNAL", MEMORY: "RESOURCE_EXHAUSTED"}
        with faulty_server() as server, server.client() as client:
            for fault, code in codes.items():
                good = noise(700, 500)
                call = client.start_restore(encode(good))
                self.fails_with(code, client.restore, marked(fault))
                np.testing.assert_array_equal(decode(call.result().image), good)
            client.restore(marked(SLOW))
            self.serves(client)
            wait_until(lambda: server.metrics()["deweather_inflight_requests"] == 0)
            self.assertEqual(server.metrics()["deweather_queue_tiles"], 0)
            self.assertEqual(server.stop(), 0)

    def test_batches_that_do_not_fit_are_halved(self):
        with faulty_server(FAULTY_MAX_BATCH="2") as server, server.client() as client:
            self.serves(client)
            pixels = noise(1500, 1200)
            np.testing.assert_array_equal(decode(client.restore(encode(pixels)).image), pixels)

    def test_a_failed_device_ends_the_server(self):
        with faulty_server() as server, server.client() as client:
            self.serves(client)
            error = self.fails_with("UNAVAILABLE", client.restore, marked(DEVICE))
            self.assertIn("planted device failure", error.details())
            self.assertEqual(server.process.wait(10), 1)
            self.assertIn("planted device failure", server.errors())

    def test_a_device_that_hangs_ends_the_server(self):
        config = "batching { max_batch_time { seconds: 2 } }"
        with faulty_server(config) as server, server.client() as client:
            self.serves(client)
            request = client.message("grpc.health.v1.HealthCheckRequest")()
            health = client.method("grpc.health.v1.Health", "Watch")(request, timeout=60)
            self.assertEqual(next(health).status, 1)  # SERVING
            begin = time.monotonic()
            hung = client.start_restore(marked(HANG))
            wait_until(lambda: server.metrics()["deweather_inflight_requests"] == 1)
            waiting = client.start_restore(encode(noise(300, 200)))
            self.assertEqual(next(health).status, 2)  # NOT_SERVING
            took = time.monotonic() - begin
            self.assertGreaterEqual(took, 2)
            self.assertLess(took, 3)
            for call in (hung, waiting):
                error = self.fails_with("UNAVAILABLE", call.result)
                self.assertIn("one batch for 2", error.details())
            self.assertEqual(server.process.wait(10), 1)
            self.assertRegex(server.errors().splitlines()[-1], r"^deweather-server: device 0 has worked on one batch")

    def test_a_hung_device_ends_the_server_whatever_waits_for_it(self):
        """A promotion waits for the device's thread, and no answer to a tile ends that."""
        self.run_program("deweather-train", "import", ROOT / "tests/model/fixtures/fme.safetensors", self.folder,
                         "--name", "tiny")
        version, = (path.name for path in self.folder.glob("models/tiny/*") if path.is_dir())
        config = "batching { max_batch_time { seconds: 1 } }"
        with faulty_server(config, args=["--no-jobs", "--data-dir", str(self.folder)]) as server, server.client() as client:
            hung = client.start_restore(marked(HANG))
            wait_until(lambda: server.metrics()["deweather_inflight_requests"] == 1)
            request = client.message("deweather.v1.PromoteModelRequest")(name="tiny", version=version)
            promotion = client.method("deweather.v1.ModelService", "PromoteModel").future(request, timeout=60)
            begin = time.monotonic()
            self.fails_with("UNAVAILABLE", hung.result)
            self.assertEqual(server.process.wait(30), 1)
            self.assertLess(time.monotonic() - begin, 1 + 8 + 1)
            self.assertFalse(promotion.cancel())  # it has ended

    def test_a_slow_batch_is_no_hang(self):
        config = "drain { delay {} } batching { max_batch_time { seconds: 1 } }"
        with faulty_server(config) as server, server.client() as client:
            for _ in range(3):
                client.restore(marked(SLOW))
            self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    main()
