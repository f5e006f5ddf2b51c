"""The shipped model's uncertainty maps: bit-equal alone and in company; heat maps; models without a router."""

import concurrent.futures
import json
import os
import subprocess
import unittest

from harness import BIN, ROOT, Server, TestCase, decode, encode, main, noise, np, program, smooth

# Gates for two tasks, a pyramid of experts.
GATED = """
name: "tiny"
model {{
  kind: KIND_FME embed_dim: 16 depth: 2 heads: 2 head_dim: 8 channels: 4 experts: 4 experts_by_block: [2, 4]
  kept: 2 residual: true tile_px: 32 overlap_px: 8 tasks: "rain" tasks: "snow"
}}
data {{ clean {{ dir: "{folder}/clean" weather: "rain" }} crop_px: 32 }}
batch: 2 steps: {steps} threads: 1 seed: 3 output_dir: "{folder}/{name}"
"""
SHIPPED = ROOT / "model/weights/deweather-small.safetensors"
DENSE = ROOT / "tests/model/fixtures/dense.safetensors"
REPEATS = 20


@unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED} is not there")
class UncertaintyTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())
        cls.picture = encode(smooth(300, 200))

    def setUp(self):
        super().setUp()
        self.client = self.enterContext(self.server.client())

    def map(self, seed=0, **options):
        return self.client.restore(self.picture, uncertainty_map=True, seed=seed, **options)

    def deweather(self, *args, status=0):
        env = {**os.environ, "DEWEATHER_SERVER": self.server.address}
        return self.run_program("deweather", *args, status=status, env=env)

    def assert_same(self, reply, other):
        self.assertEqual(reply.uncertainty_map, other.uncertainty_map)
        self.assertEqual(reply.image, other.image)
        self.assertEqual([layer.uncertainty for layer in reply.routing.layers],
                         [layer.uncertainty for layer in other.routing.layers])

    def test_the_map_is_of_the_tokens(self):
        reply = self.map()
        pixels = decode(reply.uncertainty_map)
        self.assertEqual(pixels.shape, (25, 38))
        self.assertGreater(pixels.max(), 0)
        mean = np.mean([layer.uncertainty for layer in reply.routing.layers])
        self.assertAlmostEqual(pixels.mean() / 65535, mean, delta=0.5 * mean)  # tiles overlap
        gauge = self.server.metrics()['deweather_router_uncertainty{layer="0"}']
        self.assertGreater(gauge, 0)

    def test_alone_and_in_company_it_is_the_same(self):
        alone = self.map(seed=5)
        self.assert_same(self.map(seed=5), alone)
        others = [encode(noise(260 + 10 * i, 200, seed=i)) for i in range(6)]  # tiles of the same size
        before = self.server.metrics()
        with concurrent.futures.ThreadPoolExecutor(len(others)) as pool:
            for _ in range(REPEATS):
                company = [pool.submit(self.client.restore, data, uncertainty_map=i % 2 == 0, seed=i)
                           for i, data in enumerate(others)]
                self.assert_same(self.map(seed=5), alone)
                for call in company:
                    call.result()
        batches = self.server.metrics()["deweather_batch_tiles_count"] - before["deweather_batch_tiles_count"]
        self.assertLess(batches, REPEATS * (len(others) + 1), "calls shared batches")

    def test_another_seed_has_another_map_of_the_same_picture(self):
        first, second = self.map(seed=1), self.map(seed=2**64 - 1)
        self.assertNotEqual(first.uncertainty_map, second.uncertainty_map)
        plain = self.client.restore(self.picture)
        self.assertEqual((first.image, second.image), (plain.image, plain.image))
        self.assertEqual(plain.uncertainty_map, b"")

    def test_the_client_draws_it(self):
        source, out, heat = (self.folder / name for name in ("in.png", "out.png", "heat.png"))
        source.write_bytes(self.picture)
        command = ("restore", source, "-o", out, "--uncertainty", heat, "--seed", 3, "--overwrite")
        told = json.loads(self.deweather(*command, "--json").stdout)["files"][0]
        drawn = decode(heat.read_bytes())
        self.assertEqual(drawn.shape, (200, 300, 3))
        values = decode(self.map(seed=3).uncertainty_map)
        self.assertAlmostEqual(told["uncertainty"]["max"], values.max() / 65535)
        self.assertAlmostEqual(told["uncertainty"]["mean"], values.mean() / 65535)
        y, x = np.argwhere(values == values.max())[0] * 8
        np.testing.assert_array_equal(drawn[y, x], [0xfd, 0xe7, 0x25])  # the end of viridis
        self.assertIs(told["uncertainty"]["saturated"], False)
        self.assertIn("viridis", self.deweather(*command, "--routing").stdout)

    def test_seeds_that_are_none(self):
        source = self.folder / "in.png"
        source.write_bytes(self.picture)
        command = ("restore", source, "-o", self.folder / "out.png", "--uncertainty", self.folder / "heat.png")
        for seed in ("-1", 2**64, "abc", "", "1.5"):
            error = self.deweather(*command, "--seed", seed, status=2).stderr
            self.assertIn(f"'{seed}' is no whole number from 0 to 2^64 - 1", error)
        self.deweather(*command, "--seed", 2**64 - 1)
        self.assertIn("--uncertainty", self.deweather(*command[:4], "--seed", 7, status=2).stderr)

    def test_maps_take_no_other_files_place(self):
        source, out = self.folder / "in.png", self.folder / "out.png"
        source.write_bytes(self.picture)
        dotted = f"{self.folder}/./out.png"
        for flags in [("--uncertainty", out), ("--uncertainty", dotted), ("--uncertainty", source),
                      ("--expert-map", self.folder / "h.png", "--uncertainty", f"{self.folder}//h.png"),
                      ("--uncertainty", self.folder / "heat.jpg"), ("--uncertainty", ""), ("--expert-map", "")]:
            self.deweather("restore", source, "-o", out, *flags, "--overwrite", status=2)
        self.assertEqual(source.read_bytes(), self.picture)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["in.png"])

    def test_an_old_map_survives_a_failure(self):
        source, heat = self.folder / "in.png", self.folder / "heat.png"
        source.write_bytes(self.picture)
        heat.write_bytes(b"old")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([program("deweather"), "restore", source, "-o", "-", "--uncertainty", heat,
                                   "--overwrite", "--server", self.server.address],
                                  stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(heat.read_bytes(), b"old")

    def test_a_large_file_has_its_map_too(self):
        source, heat = self.folder / "large.tif", self.folder / "heat.png"
        source.write_bytes(encode(np.tile(smooth(1700, 100), (8, 1, 1)), "TIFF"))
        with Server(config="limits { max_receive_bytes: 1048576 } drain { delay {} }") as server:
            self.deweather("restore", source, "-o", self.folder / "out.png", "--uncertainty", heat,
                           "--server", server.address, "--timeout", "100s")
        self.assertEqual(decode(heat.read_bytes()).shape, (800, 1700, 3))


class DenseTest(TestCase):
    def test_a_dense_model_has_no_map(self):
        if not (BIN / "deweather-train").exists():
            self.skipTest("deweather-train is not built")
        model = self.folder / "dense.safetensors"
        self.run_program("deweather-train", "import", DENSE, model)
        with Server("--model", str(model)) as server, server.client() as client:
            error = self.fails_with("FAILED_PRECONDITION", client.restore, encode(smooth(64, 64)),
                                    uncertainty_map=True)
            self.assertIn("routes nothing: it has no router", error.details())
            out = self.folder / "out.png"
            (self.folder / "in.png").write_bytes(encode(smooth(64, 64)))
            done = self.run_program("deweather", "restore", self.folder / "in.png", "-o", out, "--server",
                                    server.address, "--uncertainty", self.folder / "heat.png", status=1)
            self.assertTrue(done.stderr.startswith("FAILED_PRECONDITION: "), done.stderr)
            self.assertFalse(out.exists())


@unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
class GatedTest(TestCase):
    """A model with a gate for each task: trained, stored, promoted by measurement, served."""

    def setUp(self):
        super().setUp()
        for name in ("clean/1.png", "rain/input/1.png", "rain/gt/1.png", "in.png"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(smooth(70, 60)))
        sets = " ".join(f'registered {{ name: "{name}" dir: "{self.folder}/rain" }}' for name in ("rain", "fog"))
        self.server = self.enterContext(Server("--model", "identity", "--data-dir", str(self.folder),
                                               config=f"drain {{ delay {{}} }} datasets {{ {sets} }}"))

    def deweather(self, *args, status=0):
        done = self.run_program("deweather", *args, "--server", self.server.address, "--json", status=status)
        return json.loads(done.stdout)

    def stored(self, steps):
        config, name = self.folder / "config.textproto", f"out{steps}"
        config.write_text(GATED.format(folder=self.folder, steps=steps, name=name))
        self.run_program("deweather-train", "run", "--config", config)
        [model] = (self.folder / name).glob("*.safetensors")
        return self.deweather("models", "import", model)["version"]

    def restore(self, *args, status=0):
        return self.deweather("restore", self.folder / "in.png", "-o", self.folder / "out.png", "--overwrite",
                              "--model", "tiny", *args, status=status)["files"][0]

    def test_gated(self):
        first, second = self.stored(1), self.stored(2)
        self.assertEqual(self.deweather("models", "promote", "tiny", first)["tasks"], ["rain", "snow"])
        done = self.restore("--task", "snow", "--uncertainty", self.folder / "heat.png")
        self.assertEqual([len(layer["tokens"]) for layer in done["routing"]["layers"]], [2, 4])
        self.assertEqual(decode((self.folder / "heat.png").read_bytes()).shape, (60, 70, 3))
        bench = self.deweather("bench", "--model", "tiny", "--task", "rain", "--mix", "64x64", "--concurrency", 1,
                               "--duration", "300ms", "--warmup", "0s")
        self.assertGreater(bench["ok"], 0)
        for task, reason in [((), "TASK_REQUIRED"), (("--task", "fog"), "UNKNOWN_TASK")]:
            self.assertEqual(self.restore(*task, status=1)["error"]["reason"], reason)
        measured = ("models", "promote", "tiny", second, "--max-regression", "100", "--evaluate")
        error = self.deweather(*measured, "fog", status=1)["error"]
        self.assertIn("rain, snow", error["message"], "the set's name is the task")
        self.assertEqual(self.deweather(*measured, "rain")["live_version"], second)
        metrics = self.server.metrics()
        self.assertIn('deweather_expert_tokens_total{expert="1",layer="0"}', metrics)
        self.assertNotIn('deweather_expert_tokens_total{expert="2",layer="0"}', metrics)


if __name__ == "__main__":
    main()
