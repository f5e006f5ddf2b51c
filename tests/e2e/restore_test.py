"""Restoring over gRPC, by reflection, with the identity model: pixels, errors, cancellation."""

import concurrent.futures
import struct
import zlib

from harness import SERVICE, Server, TestCase, decode, encode, grpc, main, noise, np, smooth, wait_until


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
            + chunk(b"IEND", b""))


class RestoreTest(TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(Server("--model", "identity"))
        self.client = self.enterContext(self.server.client())

    def assert_serves(self):
        pixels = noise(70, 50)
        np.testing.assert_array_equal(decode(self.client.restore(encode(pixels)).image), pixels)

    def test_reflection_lists_every_service(self):
        services = self.client.database.get_services()
        self.assertIn(SERVICE, services)
        self.assertIn("grpc.health.v1.Health", services)
        for service in ["", *services]:
            self.assertEqual(self.client.health(service), "SERVING", service)

    def test_identity_is_exact(self):
        pictures = [noise(481, 321), noise(1, 1), noise(300, 17, 4), noise(40, 600, 1),
                    noise(333, 257, 1, np.uint16)]
        for pixels in pictures:
            reply = self.client.restore(encode(pixels))
            np.testing.assert_array_equal(decode(reply.image), pixels)
            self.assertEqual((reply.height_px, reply.width_px), pixels.shape[:2])
            self.assertEqual(reply.model.name, "identity")

    def test_format_follows_the_options(self):
        formats = {"FORMAT_JPEG": b"\xff\xd8\xff", "FORMAT_WEBP": b"RIFF", "FORMAT_BMP": b"BM",
                   "FORMAT_TIFF": b"II*\0", "FORMAT_PNG": b"\x89PNG"}
        for name, magic in formats.items():
            reply = self.client.restore(encode(smooth(64, 48), "JPEG"), format=name)
            self.assertTrue(reply.image.startswith(magic), name)

    def test_bad_pictures(self):
        png = encode(noise(64, 64))
        claimed = bomb(20000, 20000)
        self.assertLess(len(claimed), 80)
        cases = [(b"", "0 bytes"), (b"no picture", ""), (png[:len(png) // 2], ""),
                 (claimed, "20000x20000"), (b"\0\0\0\x18ftypheic" + bytes(12), "HEIC"),
                 (encode(noise(9, 9, 4), "WEBP", save_all=True, lossless=True,
                         append_images=[self.picture(noise(9, 9, 4, seed=2))]), "animated WebP"),
                 (encode(np.zeros((5, 5), np.float32), "TIFF"), "float TIFF"),
                 (self.cmyk(), "CMYK JPEG")]
        for data, words in cases:
            error = self.fails_with("INVALID_ARGUMENT", self.client.restore, data)
            self.assertIn(words, error.details())
            self.assert_serves()

    @staticmethod
    def picture(pixels):
        from PIL import Image
        return Image.fromarray(pixels)

    def cmyk(self):
        import io
        out = io.BytesIO()
        self.picture(noise(16, 16)).convert("CMYK").save(out, "JPEG")
        return out.getvalue()

    def test_errors_carry_details(self):
        error = self.fails_with("NOT_FOUND", self.client.restore, encode(noise(8, 8)), model="snow")
        self.assertIn("snow", error.details())
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        for word in (b"google.rpc.ErrorInfo", b"UNKNOWN_MODEL", b"deweather"):
            self.assertIn(word, details)

    def test_a_message_over_the_limit(self):
        error = self.fails_with("RESOURCE_EXHAUSTED", self.client.restore, bytes((64 << 20) + 1))
        self.assertIn("67108864", error.details())
        self.assert_serves()

    def test_cancelled_calls_leave_nothing(self):
        large = encode(smooth(4000, 3000))
        calls = [self.client.start_restore(large) for _ in range(3)]
        name = 'deweather_restore_requests_total{code="%s"}'
        wait_until(lambda: self.server.metrics()["deweather_inflight_requests"] > 0)
        for call in calls:
            call.cancel()
        for call in calls:
            self.assertRaises(grpc.FutureCancelledError, call.result)

        def ended():
            metrics = self.server.metrics()
            return metrics[name % "CANCELLED"] + metrics[name % "OK"]

        wait_until(lambda: ended() == 3)
        self.assertGreater(self.server.metrics()[name % "CANCELLED"], 0)
        self.assertEqual(self.server.metrics()["deweather_queue_tiles"], 0)
        self.assert_serves()

    def test_deadlines(self):
        large = encode(smooth(4000, 3000))
        self.fails_with("DEADLINE_EXCEEDED", self.client.restore, large, timeout=0.1)
        self.assert_serves()

    def test_many_callers(self):
        def one(seed):
            pixels = noise(100 + 50 * seed, 90, seed=seed)
            with self.server.client() as client:
                np.testing.assert_array_equal(decode(client.restore(encode(pixels)).image), pixels)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(16)))
        self.assertEqual(self.server.metrics()['deweather_restore_requests_total{code="OK"}'], 16)


if __name__ == "__main__":
    main()
