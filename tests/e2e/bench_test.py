"""`deweather bench`: both loops, what it counts, what it prints, and its exit statuses."""

import json
import os
import signal
import subprocess

from harness import Server, TestCase, encode, main, noise, program, wait_until

RESTORED = 'deweather_restore_requests_total{code="OK"}'


class BenchTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--model", "identity"))

    def setUp(self):
        super().setUp()
        self.env = {**os.environ, "DEWEATHER_SERVER": self.server.address}

    def bench(self, *args, status=0):
        return self.run_program("deweather", "bench", *args, status=status, env=self.env)

    def report(self, *args, status=0):
        """The object that --json prints, and nothing else; its counts must add up."""
        done = self.bench(*args, "--json", status=status)
        self.assertEqual(done.stderr, "")
        told = json.loads(done.stdout)
        self.assertEqual(told["sent"],
                         told["ok"] + told["wrong"] + told["errors"] + told["abandoned"])
        self.assertEqual(told["errors"], sum(e["count"] for e in told["errors_by_code"].values()))
        self.assertEqual(told["sent"], sum(part["sent"] for part in told["mix"]))
        return told

    def refuses(self, status, code, *args):
        done = self.bench(*args, status=status)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith(code + ": "), done.stderr)
        self.assertEqual(done.stdout, "")
        return lines[0]

    def garbage(self):
        path = self.folder / "garbage.png"
        path.write_bytes(b"no picture")
        return path

    def test_closed_loop(self):
        before = self.server.metrics()[RESTORED]
        told = self.report("--mix", "64x48=3,100x80=1", "--concurrency", 4, "--duration", "1s",
                           "--warmup", "100ms", "--connections", 2, "--verify")
        self.assertEqual(told["setup"]["loop"], "closed")
        self.assertGreater(told["ok"], 4)
        self.assertEqual((told["errors"], told["wrong"], told["not_sent"]), (0, 0, 0))
        self.assertAlmostEqual(told["seconds"], 1, places=2)
        # Each of the four callers may be within a call at either end of the window.
        self.assertAlmostEqual(told["ok_in_window"], told["ok"], delta=4)
        self.assertAlmostEqual(told["ok_per_second"], told["ok_in_window"] / told["seconds"], places=6)
        self.assertFalse(told["interrupted"])
        counted = self.server.metrics()[RESTORED] - before
        self.assertGreaterEqual(counted, told["ok"])
        small, large = told["mix"]
        self.assertGreater(small["ok"], large["ok"])
        pixels = small["ok"] * 64 * 48 + large["ok"] * 100 * 80
        self.assertAlmostEqual(told["megapixels_per_second"] * told["seconds"] * 1e6, pixels,
                               delta=4 * 100 * 80)
        self.assertEqual(told["models"], {"identity builtin": told["ok"]})
        self.check_times(told)

    def check_times(self, told):
        latency = told["latency_ms"]
        ascending = [latency[name] for name in ("p50", "p90", "p99", "p999", "max")]
        self.assertEqual(ascending, sorted(ascending))
        stages = told["stages_ms"]
        self.assertEqual(set(stages), {"decode", "queue", "infer", "blend", "encode", "total",
                                       "transport"})
        for name in ("decode", "infer", "encode", "total"):
            self.assertGreater(stages[name]["mean"], 0, name)
        self.assertAlmostEqual(stages["total"]["mean"] + stages["transport"]["mean"],
                               latency["mean"] - told["send_delay_ms"]["mean"], places=2)

    def test_open_loop_keeps_its_rate(self):
        told = self.report("--mix", "32x32", "--rate", 40, "--duration", "2s", "--warmup", "0s",
                           "--format", "jpeg", "--seed", 3)
        self.assertEqual(told["setup"]["loop"], "open")
        self.assertEqual(told["mix"][0]["format"], "jpeg")
        self.assertEqual(told["sent"], told["ok"])
        self.assertGreater(told["sent"], 80 - 4 * 9)  # four standard deviations
        self.assertLess(told["sent"], 80 + 4 * 9)
        again = self.report("--mix", "32x32", "--rate", 40, "--duration", "2s", "--warmup", "0s",
                            "--seed", 3)
        self.assertEqual(again["sent"], told["sent"])  # the arrivals follow from the seed

    def test_overload_adds_no_throughput(self):
        # The pictures of half a second take the server longer; what it does later is not counted.
        told = self.report("--mix", "1000x750", "--format", "jpeg", "--rate", 300, "--duration",
                           "500ms", "--warmup", "0s", "--timeout", "1m")
        self.assertLess(told["ok_in_window"], told["ok"])
        self.assertAlmostEqual(told["ok_per_second"], told["ok_in_window"] / told["seconds"], places=6)

    def test_more_than_may_wait_is_not_sent(self):
        told = self.report("--mix", "2000x1500", "--format", "jpeg", "--rate", 200, "--duration",
                           "500ms", "--warmup", "0s", "--max-outstanding", 2)
        self.assertGreater(told["not_sent"], 10)
        self.assertGreater(told["ok"], 0)

    def test_errors_are_counted_by_code_and_reason(self):
        good = self.folder / "good.png"
        good.write_bytes(encode(noise(20, 10)))
        told = self.report("--mix", f"{good}=1,{self.garbage()}=1", "--duration", "500ms", "--warmup",
                           "0s")
        error = told["errors_by_code"]["INVALID_ARGUMENT"]
        self.assertEqual(error["count"], told["errors"])
        self.assertEqual(error["reasons"], {"INVALID_IMAGE": told["errors"]})
        self.assertGreater(error["latency_ms"]["p99"], 0)
        self.assertEqual(told["mix"][1]["ok"], 0)
        self.assertEqual(told["latency_ms"]["max"], told["mix"][0]["latency_ms"]["max"])

    def test_calls_that_expire(self):
        told = self.report("--mix", "1500x1500", "--format", "jpeg", "--timeout", "1ms", "--rate", 20,
                           "--duration", "500ms", "--warmup", "0s", status=1)
        # What cannot be done in time may be refused at once.
        self.assertLessEqual(set(told["errors_by_code"]), {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})
        self.assertGreater(told["errors"], 0)
        self.assertEqual(told["ok"], 0)
        self.assertIsNone(told["latency_ms"]["p50"])

    def test_table(self):
        table = self.bench("--mix", "32x32", "--duration", "300ms", "--warmup", "0").stdout
        for word in ("good replies/s", "megapixels/s", "p99.9", "transport"):
            self.assertIn(word, table)

    def test_nothing_restored_is_a_failure(self):
        self.bench(self.garbage(), "--duration", "200ms", "--warmup", "0s", status=1)

    def test_no_server(self):
        line = self.refuses(1, "UNAVAILABLE", "--server", "127.0.0.1:1")
        self.assertIn("127.0.0.1:1", line)
        told = json.loads(self.bench("--server", "127.0.0.1:1", "--json", status=1).stdout)
        self.assertEqual(told["error"]["code"], "UNAVAILABLE")

    def test_wrong_usage(self):
        for args in [("--mix", "0x7"), ("--mix", "7x7=much"), ("--mix", "30000x30000"), ("--concurrency", "0"),
                     ("--duration", "0s"), ("--mix", "7x7", "in.png")]:
            self.refuses(2, "INVALID_ARGUMENT", *args)
        for args in [("--duration", "soon"), ("--warmup", "-1s"), ("--format", "gif")]:
            self.bench(*args, status=2)
        self.refuses(1, "NOT_FOUND", self.folder / "none.png")

    def test_an_interrupt_ends_it_and_still_reports(self):
        before = self.server.metrics()[RESTORED]
        with subprocess.Popen([program("deweather"), "bench", "--mix", "32x32", "--duration", "1h",
                               "--warmup", "0s", "--json"], stdout=subprocess.PIPE, text=True,
                              env=self.env) as process:
            wait_until(lambda: self.server.metrics()[RESTORED] > before + 10)
            process.send_signal(signal.SIGINT)
            told = json.loads(process.communicate(timeout=30)[0])
            self.assertEqual(process.returncode, 0)
        self.assertTrue(told["interrupted"])
        self.assertGreater(told["ok"], 0)
        self.assertLess(told["seconds"], 60)

    def refused(self):
        return sum(count for name, count in self.server.metrics().items()
                   if "restore_requests_total" in name and "OK" not in name)

    def test_an_interrupt_before_a_reply_is_a_failure(self):
        before = self.refused()
        with subprocess.Popen([program("deweather"), "bench", self.garbage(), "--duration", "1h",
                               "--warmup", "0s", "--json"], stdout=subprocess.PIPE, text=True,
                              env=self.env) as process:
            wait_until(lambda: self.refused() > before + 10)
            process.send_signal(signal.SIGINT)
            told = json.loads(process.communicate(timeout=30)[0])
            self.assertEqual(process.returncode, 1)
        self.assertTrue(told["interrupted"])
        self.assertIsNone(told["latency_ms"]["max"])


if __name__ == "__main__":
    main()
