"""RestoreLarge and RestoreStream as a stranger uses them, and what is left of callers that die."""

import os
import queue
import subprocess
import sys
import threading

from harness import (
    SERVICE, Server, TestCase, decode, encode, grpc, main, noise, np, smooth, wait_until,
)

CHUNK = 1 << 20


def large_requests(client, image, **options):
    request = client.message("deweather.v1.RestoreLargeRequest")
    yield request(start={"image_bytes": len(image), "options": options})
    for at in range(0, len(image), CHUNK):
        yield request(chunk={"offset": at, "data": image[at:at + CHUNK]})


def start_large(client, requests, timeout=60):
    return client.method(SERVICE, "RestoreLarge")(requests, timeout=timeout)


def stream_requests(client, frames, **start):
    request = client.message("deweather.v1.RestoreStreamRequest")
    yield request(start=start)
    for number, image in enumerate(frames):
        yield request(frame={"id": number, "image": image})


def start_stream(client, requests, timeout=60):
    return client.method(SERVICE, "RestoreStream")(requests, timeout=timeout)


def left(server):
    """What the server holds for calls."""
    metrics = server.metrics()
    return metrics["deweather_inflight_requests"], metrics["deweather_inflight_bytes"]


class StreamTest(TestCase):
    @classmethod
    def setUpClass(cls):
        config = "drain { delay {} } limits { max_stream_idle { seconds: 1 } max_large_bytes: 50000000 }"
        cls.server = cls.enterClassContext(Server("--model", "identity", config=config))

    def setUp(self):
        super().setUp()
        self.client = self.enterContext(self.server.client())

    def tearDown(self):
        wait_until(lambda: left(self.server) == (0, 0))
        pixels = noise(40, 30)
        np.testing.assert_array_equal(decode(self.client.restore(encode(pixels)).image), pixels)

    def test_large_picture(self):
        pixels = noise(3000, 2000)
        image, summary, progress = b"", None, []
        for reply in start_large(self.client, large_requests(self.client, encode(pixels))):
            part = reply.WhichOneof("part")
            if part == "progress":
                progress.append(reply.progress.tiles_done)
            elif part == "summary":
                summary = reply.summary
            else:
                self.assertEqual(reply.chunk.offset, len(image))
                image += reply.chunk.data
        np.testing.assert_array_equal(decode(image), pixels)
        self.assertEqual(summary.image_bytes, len(image))
        self.assertEqual((summary.response.width_px, summary.response.height_px), (3000, 2000))
        self.assertTrue(progress)
        self.assertEqual(progress, sorted(set(progress)))

    def test_large_picture_over_the_limit(self):
        request = self.client.message("deweather.v1.RestoreLargeRequest")
        error = self.fails_with("INVALID_ARGUMENT", lambda: list(
            start_large(self.client, iter([request(start={"image_bytes": 50_000_001})]))))
        self.assertIn("50000001", error.details())
        self.assertIn("1..50000000", error.details())

    def test_frames_of_many_sizes_come_back_in_order(self):
        frames = [noise(30 + 40 * (i % 4), 50, seed=i) for i in range(24)]
        requests = stream_requests(self.client, map(encode, frames), window=3)
        replies = list(start_stream(self.client, requests))
        self.assertEqual([reply.id for reply in replies], list(range(24)))
        for reply, pixels in zip(replies, frames):
            np.testing.assert_array_equal(decode(reply.restored.image), pixels)

    def test_newest_frame_is_never_dropped(self):
        frames = [encode(noise(200, 200, seed=i)) for i in range(30)]
        requests = stream_requests(self.client, frames, window=1, drop_oldest=True)
        replies = list(start_stream(self.client, requests))
        self.assertEqual([reply.id for reply in replies], list(range(30)))
        self.assertEqual(replies[-1].WhichOneof("outcome"), "restored")
        self.assertTrue({reply.WhichOneof("outcome") for reply in replies} <= {"restored", "dropped"})

    def test_bad_frame_is_answered_in_its_place(self):
        good = encode(noise(30, 30))
        replies = list(start_stream(self.client, stream_requests(self.client, [good, b"no", good])))
        self.assertEqual([r.WhichOneof("outcome") for r in replies], ["restored", "error", "restored"])
        self.assertEqual(replies[1].error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
        self.assertEqual(replies[1].error.reason, "INVALID_IMAGE")

    def test_stream_that_never_ends_is_cut_off(self):
        silence = queue.Queue()
        for start, name in ((start_stream, "Stream"), (start_large, "Large")):
            request = self.client.message(f"deweather.v1.Restore{name}Request")

            def requests(request=request):
                yield request(start={"image_bytes": 1000} if name == "Large" else {})
                silence.get()

            error = self.fails_with("DEADLINE_EXCEEDED", lambda: list(start(self.client, requests())))
            self.assertIn("limit of 1s", error.details())
            silence.put(None)


class MalformedTest(TestCase):
    def raw(self, client, name, messages):
        same = dict(request_serializer=bytes, response_deserializer=bytes)
        return client.channel.stream_stream(f"/{SERVICE}/{name}", **same)(iter(messages), timeout=60)

    def test_bytes_that_are_no_message(self):
        with Server("--model", "identity") as server, server.client() as client:
            frames = stream_requests(client, [encode(noise(30, 30))])
            stream = [*(frame.SerializeToString() for frame in frames), b"\xff" * 5]
            large = [next(large_requests(client, b"1234")).SerializeToString(), b"\xff" * 5]
            for name, messages in (("RestoreStream", stream), ("RestoreLarge", large)):
                call = self.raw(client, name, messages)
                error = self.fails_with("INVALID_ARGUMENT", lambda: list(call))
                self.assertIn("cannot be parsed", error.details())

    def test_the_log_keeps_quiet_about_text_that_is_none(self):
        start = b"\x0a\x05\x0a\x03\x0a\x01\xff"  # whose options' model is the byte 0xff
        with Server("--model", "identity") as server, server.client() as client:
            self.fails_with("INVALID_ARGUMENT", lambda: list(self.raw(client, "RestoreStream", [start])))
            self.assertNotIn("protobuf", server.errors())


class KilledCallerTest(TestCase):
    def test_nothing_is_left(self):
        path = self.folder / "image.png"
        path.write_bytes(encode(smooth(3000, 2500), compress_level=1))
        with Server("--model", "identity") as server:
            for how in ("upload", "large", "stream"):
                child = subprocess.Popen([sys.executable, "-B", __file__, how, server.address, path],
                                         stdout=subprocess.PIPE, text=True)
                self.assertEqual(child.stdout.readline(), "under way\n")
                if how == "upload":
                    wait_until(lambda: left(server)[0] == 1)
                child.kill()
                child.wait()
                child.stdout.close()
                wait_until(lambda: left(server) == (0, 0))
            with server.client() as client:
                client.restore(encode(noise(40, 30)))


class DrainTest(TestCase):
    def test_open_streams_do_not_hold_it_up(self):
        with Server("--model", "identity") as server, server.client() as client:
            more = queue.Queue()

            def requests():
                yield from stream_requests(client, [encode(noise(30, 30))])
                more.get()

            replies = start_stream(client, requests())
            self.assertEqual(next(replies).WhichOneof("outcome"), "restored")
            self.assertEqual(server.stop(timeout=10), 0)
            error = self.fails_with("UNAVAILABLE", next, replies)
            self.assertIn("draining", error.details())
            more.put(None)


def die_under_way(how, address, path):
    """A caller that says when it is under way, and then waits to be killed."""
    from harness import Client

    client = Client(address)
    with open(path, "rb") as file:
        image = file.read()
    never = threading.Event()

    def requests():
        if how == "stream":
            yield from stream_requests(client, [image] * 4)
        else:
            all_parts = list(large_requests(client, image))
            yield from all_parts[:2] if how == "upload" else all_parts
        print("under way", flush=True)
        never.wait()

    list((start_stream if how == "stream" else start_large)(client, requests()))


if __name__ == "__main__":
    if len(sys.argv) == 4 and os.path.exists(sys.argv[3]):
        die_under_way(*sys.argv[1:])
    else:
        main()
