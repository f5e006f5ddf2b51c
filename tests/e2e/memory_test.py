"""What memory inference takes: nothing new from batch to batch. Minutes, so it is labelled slow."""

import json

from harness import ROOT, TestCase, main

SMALL = ROOT / "model/weights/deweather-small.safetensors"
PAGES_A_BATCH = 10
GROWTH = 0.01


class MemoryTest(TestCase):
    def bench(self, *options):
        return json.loads(self.run_program("deweather-train", "bench", *options, "--json",
                                           timeout=600).stdout)

    def expect_steady(self, *options):
        told = self.bench(*options)
        first, last = told["resident_bytes"]
        print(f"{' '.join(map(str, options))}: {told['minor_faults_per_run']:.3f} minor faults a batch, "
              f"RSS {first / 1e6:.1f} -> {last / 1e6:.1f} MB")
        self.assertLess(told["minor_faults_per_run"], PAGES_A_BATCH)
        self.assertLess(last, first * (1 + GROWTH))

    def test_ten_thousand_batches_of_the_small_model(self):
        for precision in ("f32", "bf16"):
            self.expect_steady("--model", SMALL, "--size", 32, "--batch", 1, "--runs", 10000,
                               "--precision", precision)

    def test_batches_at_the_papers_size(self):
        for batch in (1, 8):
            self.expect_steady("--kind", "fme", "--size", 256, "--batch", batch, "--runs", 10)

    def test_inspect_tells_what_a_batch_takes(self):
        told = [json.loads(self.run_program("deweather-train", "inspect", SMALL, "--batch", batch,
                                            "--json").stdout) for batch in (1, 8)]
        self.assertEqual([each["batch"] for each in told], [1, 8])
        few, many = (each["peak_resident_bytes"] for each in told)
        self.assertGreater(many, few)
        # Tiles of f32 RGB go in and come out at least.
        self.assertGreater(many - few, 7 * 2 * 3 * 256 * 256 * 4)
        self.run_program("deweather-train", "inspect", SMALL, "--precision", "f32", status=2)


if __name__ == "__main__":
    main()
