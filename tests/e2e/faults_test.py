"""Faults planted around the model of the real server (tests/reliability/faulty_server.cc)."""

from harness import Server, TestCase, decode, encode, main, noise, np, program, wait_until

THROW, NAN, MEMORY, SLOW, DEVICE = range(1, 6)


def marked(fault):
    """A picture of one tile that asks for a fault."""
    pixels = noise(60, 50)
    pixels[0, 0] = (255, 0, fault)
    return encode(pixels)


def faulty_server(**env):
    return Server("--model", "identity", command=[program("../tests/faulty_server")], env=env)


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


if __name__ == "__main__":
    main()
