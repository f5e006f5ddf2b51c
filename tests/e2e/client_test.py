"""`deweather`: files in, files out, exit statuses, one line an error, no half files."""

import json
import os
import subprocess

from harness import Server, TestCase, decode, encode, main, noise, np, program, smooth


class ClientTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--model", "identity"))

    def setUp(self):
        super().setUp()
        self.env = {**os.environ, "DEWEATHER_SERVER": self.server.address}
        self.pixels = noise(120, 80)
        self.input = self.write("in.png", encode(self.pixels))

    def write(self, name, data):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def deweather(self, *args, status=0, **options):
        options.setdefault("env", self.env)
        return self.run_program("deweather", *args, status=status, **options)

    def refuses(self, status, code, *args, **options):
        """One line on stderr that begins with the code; the line."""
        done = self.deweather(*args, status=status, **options)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith(code + ": "), done.stderr)
        return lines[0]

    def files(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())

    def test_help_version_and_wrong_usage(self):
        self.assertIn("restore", self.deweather("--help").stdout)
        self.assertIn("--overwrite", self.deweather("restore", "--help").stdout)
        self.assertRegex(self.deweather("--version").stdout, r"^deweather \d+\.\d+\.\d+\n$")
        for args in [(), ("dance",), ("restore",), ("restore", self.input),
                     ("restore", self.input, "-o", "x.png", "--strength", "much"),
                     ("restore", self.input, "-o", "x.png", "--metadata", "some"),
                     ("restore", self.input, "-o", "x.png", "--timeout", "soon"),
                     ("health", "--timeout", "-1s")]:
            self.refuses(2, "INVALID_ARGUMENT", *args)

    def test_usage_errors_name_what_is_wrong(self):
        for wrong, args in [("'dance'", ("dance",)), ("'--dance'", ("restore", "--dance")),
                            ("--server", ("health", "--server", "")), ("--server", ("bench", "--server=")),
                            ("'127.0.0.1'", ("health", "--server", "127.0.0.1")),
                            ("'h:0'", ("models", "list", "--server", "h:0")),
                            ("'soon'", ("health", "--timeout", "soon"))]:
            self.assertIn(wrong, self.refuses(2, "INVALID_ARGUMENT", *args))
        self.env["DEWEATHER_SERVER"] = "nowhere"
        self.assertIn("'nowhere'", self.refuses(2, "INVALID_ARGUMENT", "health"))

    def test_usage_errors_are_json_too(self):
        for args in [("dance", "--json"), ("restore", "--json"),
                     ("health", "--server", "", "--json")]:
            error = json.loads(self.deweather(*args, status=2).stdout)["error"]
            self.assertEqual(error["code"], "INVALID_ARGUMENT", args)

    def test_names_are_utf8(self):
        out = self.folder / "out.png"
        for args in [("restore", self.input, "-o", out, "--model"), ("models", "get"),
                     ("models", "promote", "rain"), ("health", "--service"), ("bench", "--model")]:
            done = subprocess.run([program("deweather"), *args, b"\xff"], capture_output=True,
                                  env=self.env, check=False)
            self.assertEqual(done.returncode, 2, args)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(rb"'\xff' is no UTF-8", done.stderr)

    def test_one_file(self):
        out = self.folder / "out.png"
        done = self.deweather("restore", self.input, "-o", out)
        np.testing.assert_array_equal(decode(out.read_bytes()), self.pixels)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertEqual(self.files(), ["in.png", "out.png"])

    def test_format_follows_the_extension(self):
        for name, magic in [("a.jpg", b"\xff\xd8"), ("b.JPEG", b"\xff\xd8"), ("c.webp", b"RIFF"),
                            ("d.tif", b"II"), ("e.bmp", b"BM")]:
            self.deweather("restore", self.input, "-o", self.folder / name)
            self.assertTrue((self.folder / name).read_bytes().startswith(magic), name)

    def test_no_silent_overwrite(self):
        out = self.write("out.png", b"precious")
        line = self.refuses(1, "ALREADY_EXISTS", "restore", self.input, "-o", out)
        self.assertIn("--overwrite", line)
        self.assertEqual(out.read_bytes(), b"precious")
        self.deweather("restore", self.input, "-o", out, "--overwrite")
        np.testing.assert_array_equal(decode(out.read_bytes()), self.pixels)

    def test_large_file_goes_in_chunks(self):
        pixels = noise(3500, 3300)
        data = encode(pixels, compress_level=0)
        self.assertGreater(len(data), 32 << 20)
        out = self.folder / "out.png"
        done = self.deweather("restore", self.write("large.png", data), "-o", out, "--priority", "background")
        self.assertEqual(len(done.stderr.splitlines()), 1)
        np.testing.assert_array_equal(decode(out.read_bytes()), pixels)
        line = self.refuses(1, "INVALID_ARGUMENT", "restore", self.write("bad.png", bytes(33 << 20)),
                            "-o", self.folder / "bad-out.png")
        self.assertIn("bad.png", line)
        self.assertNotIn("bad-out.png", self.files())

    def test_what_no_message_may_hold_goes_in_chunks(self):
        out = self.folder / "out.png"
        pixels = noise(800, 600)
        path = self.write("large.png", encode(pixels))
        self.assertGreater(path.stat().st_size, 1 << 20)
        for limit in ("max_receive_bytes: 1048576", "max_send_bytes: 1100000"):
            with Server("--model", "identity", config=f"limits {{ {limit} }} drain {{ delay {{}} }}") as server:
                self.deweather("restore", path, "-o", out, "--server", server.address)
            np.testing.assert_array_equal(decode(out.read_bytes()), pixels, limit)
            out.unlink()

    def test_folder(self):
        for i in range(6):
            self.write(f"many/{i}.png", encode(noise(30 + i, 20, seed=i)))
        self.write("many/notes.txt", b"no picture")
        done = self.deweather("restore", self.folder / "many", "-o", self.folder / "restored")
        self.assertEqual(len(done.stderr.splitlines()), 6)
        for i in range(6):
            pixels = decode((self.folder / f"restored/{i}.png").read_bytes())
            np.testing.assert_array_equal(pixels, noise(30 + i, 20, seed=i))
        self.assertFalse((self.folder / "restored/notes.txt").exists())

    def test_two_inputs_for_one_output(self):
        self.write("a/x.png", encode(self.pixels))
        self.write("b/x.png", encode(self.pixels))
        line = self.refuses(2, "INVALID_ARGUMENT", "restore", self.folder / "a", self.folder / "b",
                            "-o", self.folder / "out")
        self.assertIn("a/x.png", line)
        self.assertIn("b/x.png", line)
        self.assertFalse((self.folder / "out").exists())

    def test_pipes(self):
        done = self.deweather("restore", "-", "-o", "-", input=self.input.read_bytes(), text=False)
        np.testing.assert_array_equal(decode(done.stdout), self.pixels)

    def test_full_disk(self):
        small = self.write("small.png", encode(noise(4, 4)))  # fails only when it is flushed
        for path in (self.input, small):
            self.check_full_disk(path)

    def check_full_disk(self, path):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([program("deweather"), "restore", path, "-o", "-"],
                                  stdout=full, stderr=subprocess.PIPE, env=self.env, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)

    def test_json_is_one_object_and_nothing_else(self):
        bad = self.write("bad.png", b"no picture")
        done = self.deweather("restore", self.input, bad, "-o", self.folder / "out", "--json", status=1)
        told = json.loads(done.stdout)
        self.assertEqual((told["restored"], told["failed"]), (1, 1))
        good, failed = told["files"]
        self.assertEqual((good["width_px"], good["height_px"], good["format"]), (120, 80, "png"))
        self.assertEqual(good["model"]["name"], "identity")
        self.assertRegex(good["request_id"], r"^[0-9a-f]{32}$")
        self.assertNotEqual(good["request_id"], failed["request_id"])
        self.assertGreater(good["timings"]["total_ms"], 0)
        self.assertEqual(failed["error"]["code"], "INVALID_ARGUMENT")
        self.assertEqual(failed["error"]["reason"], "INVALID_IMAGE")
        self.assertEqual(self.files(), ["bad.png", "in.png", "out/in.png"])
        self.refuses(2, "INVALID_ARGUMENT", "restore", self.input, "-o", "-", "--json")

    def test_failures_leave_no_file(self):
        truncated = self.write("half.png", self.input.read_bytes()[:500])
        out = self.folder / "out.png"
        for args in [(truncated,), (self.input, "--model", "snow"), (self.input, "--quality", "101"),
                     (self.input, "--timeout", "1ms"), (self.input, "--server", "127.0.0.1:1"),
                     (self.input, "--expert-map", self.folder / "map.png")]:
            self.deweather("restore", *args, "-o", out, status=1)
            self.assertEqual(self.files(), ["half.png", "in.png"], args)

    def test_errors_name_the_code(self):
        out = self.folder / "out.png"
        self.refuses(1, "NOT_FOUND", "restore", self.folder / "none.png", "-o", out)
        self.refuses(1, "NOT_FOUND", "restore", self.input, "-o", out, "--model", "snow")
        self.refuses(1, "UNAVAILABLE", "restore", self.input, "-o", out, "--server", "127.0.0.1:1")
        self.refuses(1, "DEADLINE_EXCEEDED", "restore", self.input, "-o", out, "--timeout", "1ms")
        self.refuses(1, "FAILED_PRECONDITION", "restore", self.input, "-o", out, "--expert-map",
                     self.folder / "map.png")
        self.refuses(2, "INVALID_ARGUMENT", "restore", self.input, "-o", self.folder / "out.gif")
        self.refuses(2, "INVALID_ARGUMENT", "restore", self.folder, "-o", "-")

    def test_a_server_that_is_not_there_is_told_in_words(self):
        for args in [("restore", self.input, "-o", self.folder / "out.png"), ("health",), ("models", "list"),
                     ("jobs", "get", "a"), ("bench", "--duration", "1s")]:
            line = self.refuses(1, "UNAVAILABLE", *args, "--server", "127.0.0.1:1")
            self.assertIn("cannot connect to 127.0.0.1:1: Connection refused", line)

    def test_unwritable_output_is_found_before_anything_is_sent(self):
        restored = 'deweather_restore_requests_total{code="OK"}'
        before = self.server.metrics()[restored]
        self.refuses(1, "NOT_FOUND", "restore", self.input, "-o", self.folder / "none/out.png")
        line = self.refuses(1, "FAILED_PRECONDITION", "restore", self.input, "-o",
                            self.input / "out.png")
        self.assertIn("Not a directory", line)
        if os.geteuid() != 0:
            (self.folder / "locked").mkdir(mode=0o500)
            self.refuses(1, "PERMISSION_DENIED", "restore", self.input, "-o",
                         self.folder / "locked/out.png")
        self.assertEqual(self.server.metrics()[restored], before)

    def test_routing_of_a_model_without_experts(self):
        done = self.deweather("restore", self.input, "-o", self.folder / "out.png", "--routing")
        self.assertIn("no experts", done.stdout)

    def test_strength_and_quality(self):
        wet = self.write("wet.png", encode(smooth(64, 64)))
        self.deweather("restore", wet, "-o", self.folder / "a.jpg", "--quality", "20", "--strength", "0")
        self.deweather("restore", wet, "-o", self.folder / "b.jpg", "--quality", "95", "--metadata",
                       "strip")
        self.assertLess((self.folder / "a.jpg").stat().st_size, (self.folder / "b.jpg").stat().st_size)

    def test_health(self):
        self.assertEqual(self.deweather("health").stdout, "SERVING\n")
        service = "deweather.v1.RestorationService"
        told = json.loads(self.deweather("health", "--service", service, "--json").stdout)
        self.assertEqual(told, {"service": service, "status": "SERVING"})
        self.refuses(1, "NOT_FOUND", "health", "--service", "deweather.v1.Nothing")
        self.refuses(1, "UNAVAILABLE", "health", "--server", "127.0.0.1:1")


if __name__ == "__main__":
    main()
