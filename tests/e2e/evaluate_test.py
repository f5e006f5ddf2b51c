"""`deweather-train evaluate` against scikit-image, and what it and its neighbours print and write."""

import json
import subprocess
import unittest

from harness import ROOT, Image, TestCase, decode, encode, main, noise, np, program, skip, smooth

try:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
except ImportError:
    skip("no scikit-image: run scripts/setup")

RAIN = ROOT.parent / "shared/data/eval/rain100l"
TOLERANCE = 1e-3  # dB, and of SSIM's 1


def luma(pixels):
    """BT.601 in its limited range, not rounded."""
    return 16 + pixels.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def skimage_figures(picture, truth):
    similarity = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    y, true_y = luma(picture), luma(truth)
    return {"psnr_rgb": peak_signal_noise_ratio(truth, picture, data_range=255),
            "psnr_y": peak_signal_noise_ratio(true_y, y, data_range=255),
            "ssim_rgb": structural_similarity(truth, picture, channel_axis=-1, **similarity),
            "ssim_y": structural_similarity(true_y, y, **similarity)}


def scene(random, width, height):
    """Waves, edges and grain of random strengths, as floats around 0 to 255."""
    y, x = np.mgrid[0:height, 0:width]
    angle, period = random.uniform(0, np.pi), random.uniform(4, 80)
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    edges = (x // random.integers(3, 40) + y // random.integers(3, 40)) % 2
    picture = np.empty((height, width, 3))
    for c in range(3):
        picture[..., c] = (random.uniform(20, 235) + random.uniform(0, 80) * wave +
                           random.uniform(-60, 60) * edges + random.normal(0, random.uniform(0, 12), x.shape))
    return picture


def to_bytes(picture):
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def pair(seed):
    """A truth and what noise, a veil, streaks or a compression made of it."""
    random = np.random.default_rng(seed)
    truth = scene(random, *random.integers(11, 160, 2))
    streaks = random.random((truth.shape[0], truth.shape[1], 1)) < random.uniform(0, 0.1)
    changed = (truth * random.uniform(0.6, 1) + random.uniform(0, 60) + 90 * streaks +
               random.normal(0, 10 ** random.uniform(-1, 1.6), truth.shape))
    changed = to_bytes(changed)
    if seed % 5 == 0:
        changed = decode(encode(changed, "JPEG", quality=int(random.integers(5, 90))))
    return changed, to_bytes(truth)


class EvaluateTest(TestCase):
    def write_pairs(self, pairs, folder="pairs"):
        for index, (changed, truth) in enumerate(pairs):
            for name, pixels in [("input", changed), ("gt", truth)]:
                path = self.folder / folder / name / f"{index:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(pixels))
        return self.folder / folder

    def evaluate(self, *args, **options):
        return self.run_program("deweather-train", "evaluate", "--device", "cpu", *args, **options)

    def check_against_skimage(self, pairs, pictures):
        """`pairs` yields what each of the reported pictures is made of."""
        self.assertEqual(len(pairs), len(pictures))
        for (changed, truth), reported in zip(pairs, pictures):
            for figure, wanted in skimage_figures(changed, truth).items():
                for name in (figure, f"input_{figure}"):  # the identity changes nothing
                    self.assertAlmostEqual(reported[name], wanted, delta=TOLERANCE, msg=f"{name}: {reported}")

    def test_psnr_and_ssim_are_scikit_images(self):
        pairs = [pair(seed) for seed in range(50)]
        folder = self.write_pairs(pairs)
        report = json.loads(self.evaluate("--model", "identity", "--pairs", folder, "--json",
                                          "--per-picture").stdout)
        self.check_against_skimage(pairs, report["pictures"])
        self.assertEqual(report["images"], 50)
        for figure in ("psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"):
            mean = np.mean([picture[figure] for picture in report["pictures"]])
            self.assertAlmostEqual(report[figure], mean, places=9)
        psnr = [picture["psnr_rgb"] for picture in report["pictures"]]
        self.assertLess(min(psnr), 15, "the pairs are all alike")
        self.assertGreater(max(psnr), 30, "the pairs are all alike")

    @unittest.skipUnless(RAIN.exists(), f"{RAIN} is not there")
    def test_real_pairs_too(self):
        paths = sorted((RAIN / "input").iterdir())[:50]
        for name in ("input", "gt"):
            (self.folder / name).mkdir()
            for path in paths:
                (self.folder / name / path.name).symlink_to(RAIN / name / path.name)
        report = json.loads(self.evaluate("--model", "identity", "--pairs", self.folder, "--json",
                                          "--per-picture").stdout)
        pairs = [[np.asarray(Image.open(RAIN / name / path.name).convert("RGB")) for name in ("input", "gt")]
                 for path in paths]
        self.check_against_skimage(pairs, report["pictures"])

    def test_grey_and_sixteen_bits(self):
        """Compared as the nearest 8 bits in colour."""
        truth = smooth(60, 40)
        grey = noise(60, 40, 1)
        deep = noise(60, 40, 1, np.uint16)
        folder = self.write_pairs([(grey, truth), (deep, truth)])
        report = json.loads(self.evaluate("--model", "identity", "--pairs", folder, "--json",
                                          "--per-picture").stdout)
        as_colour = [np.repeat(pixels[..., None], 3, -1) for pixels in (grey, np.round(deep / 257).astype(np.uint8))]
        self.check_against_skimage([(pixels, truth) for pixels in as_colour], report["pictures"])

    def test_several_sets(self):
        rain = self.write_pairs([pair(1), pair(2)], "rain")
        snow = self.write_pairs([pair(3)], "snow")
        sheet, out = self.folder / "sheet.png", self.folder / "out"
        out.mkdir()
        sets = ["--pairs", rain, "--pairs", f"winter={snow}"]
        done = self.evaluate("--model", "identity", *sets, "--json", "--worst", 1, "--sheet", sheet, "-o", out)
        report = json.loads(done.stdout)
        self.assertEqual([(one["set"], one["images"], len(one["worst"])) for one in report["sets"]],
                         [("rain", 2, 1), ("winter", 1, 1)])
        overall = report["overall"][0]
        self.assertEqual(overall["images"], 3)
        self.assertAlmostEqual(overall["psnr_y"], np.mean([one["psnr_y"] for one in report["sets"]]), places=9)
        self.assertEqual(decode(sheet.read_bytes()).shape[2], 3)
        kept = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
        self.assertEqual(kept, ["rain/000.png", "rain/001.png", "winter/000.png"])
        table = self.evaluate("--model", "identity", *sets).stdout
        for line in ("rain             input", "winter           input", "overall          input", "worst of winter"):
            self.assertIn("\n" + line, table)

    def test_what_cannot_be_compared_is_an_error(self):
        changed, truth = pair(4)
        pairs = self.write_pairs([(changed, truth), (changed[:-1], truth)])
        error = self.evaluate("--model", "identity", "--pairs", pairs, status=1).stderr
        height, width, _ = truth.shape
        for part in ("INVALID_ARGUMENT", "input/001.png", "gt/001.png", f"{width}x{height}", f"{width}x{height - 1}"):
            self.assertIn(part, error)
        self.assertNotIn("pictures\n", error, "a picture was restored before the error")
        self.evaluate("--model", "identity", "--pairs", f"a b={pairs}", status=2)
        self.evaluate("--model", "identity", "--pairs", pairs, "--sheet", self.folder / "sheet.txt", status=2)
        self.evaluate("--model", "identity", "--pairs", pairs, "--per-picture", status=2)
        self.evaluate("--model", "identity", "--pairs", "", status=2)
        self.evaluate("--model", "identity", "--pairs", pairs, "--tile", 100000, status=2)
        self.evaluate("--model", "identity", "--pairs", pairs, "--worst", -1, status=2)

    def test_experts_are_reported_and_gates_that_are_not_there_refused(self):
        pairs = ["--pairs", self.write_pairs([pair(6)])]
        model = ["--model", ROOT / "model/weights/deweather-small.safetensors"]
        report = json.loads(self.evaluate(*model, *pairs, "--json").stdout)
        self.assertEqual(len(report["routing"]), 2)
        for layer in report["routing"]:
            self.assertEqual(len(layer["load"]), 16)
            self.assertAlmostEqual(sum(layer["load"]), 1, places=9)
            self.assertEqual(layer["dead_experts"], sum(share < 0.01 / 16 for share in layer["load"]))
        self.assertRegex(self.evaluate(*model, *pairs).stdout, "experts of deweather-small .* of 16 dead;")
        self.assertIn("has calibration 'none'", self.evaluate(*model, *pairs, "--calibrated", status=1).stderr)
        self.assertIn("routes nothing", self.evaluate("--model", "identity", *pairs, "--calibrated", status=1).stderr)
        self.assertIn("one gate for all", self.evaluate(*model, *pairs, "--task", "rain", status=1).stderr)

    def test_many_worst_are_listed_and_few_shown(self):
        pairs = self.write_pairs([pair(seed) for seed in range(8)])
        sheet = self.folder / "sheet.png"
        done = self.evaluate("--model", "identity", "--pairs", pairs, "--json", "--worst", 100, "--sheet", sheet)
        self.assertEqual(len(json.loads(done.stdout)["worst"]), 8)
        self.assertTrue(sheet.exists())


class UncertaintyTest(TestCase):
    MODEL = ROOT / "model/weights/deweather-small.safetensors"

    def setUp(self):
        super().setUp()
        for name, pixels in [("input", noise(96, 64, 3)), ("gt", smooth(96, 64))]:
            (self.folder / "pairs" / name).mkdir(parents=True)
            (self.folder / "pairs" / name / "a.png").write_bytes(encode(pixels))

    def survey(self, *args, model=MODEL, **options):
        return self.run_program("deweather-train", "uncertainty", "--device", "cpu", "--precision", "f32",
                                "--model", model, *args, **options)

    def test_table_json_and_curve(self):
        curve = self.folder / "curve.png"
        sets = ["--pairs", f"noise={self.folder / 'pairs'}", "--pairs", self.folder / "pairs"]
        report = json.loads(self.survey(*sets, "--json", "-o", curve).stdout)["uncertainty"]
        self.assertEqual([one["set"] for one in report], ["noise", "pairs", "overall"])
        self.assertEqual([one["patches"] for one in report], [96, 96, 192])
        for one in report:
            for predictor in ("uncertainty", "gradient", "change"):
                self.assertLessEqual(abs(one["pooled"][predictor]["spearman"]), 1)
                self.assertGreaterEqual(one["within"][predictor]["ause"], 0)
            self.assertEqual(len(one["curves"]["oracle"]), len(one["removed"]))
        self.assertEqual(report[0]["curves"], report[1]["curves"])
        self.assertEqual(decode(curve.read_bytes()).shape[2], 3)
        table = self.survey(*sets, "--pictures", 1).stdout
        self.assertEqual(len(table.splitlines()), 2 + 3 * 4)

    def test_wrong_usage(self):
        pairs = ["--pairs", self.folder / "pairs"]
        self.survey(status=2)
        self.survey(*pairs, "--pictures", -1, status=2)
        self.survey(*pairs, "-o", self.folder / "no/curve.png", status=2)
        self.assertIn("would be a PNG", self.survey(*pairs, "-o", self.folder / "curve.jpg", status=2).stderr)
        self.survey(*pairs, model=self.folder / "absent", status=1)

    def test_what_cannot_be_surveyed_is_an_error(self):
        """As of `evaluate`, and before any picture is restored."""
        pairs = ["--pairs", self.folder / "pairs"]
        self.assertIn("one gate for all", self.survey(*pairs, "--task", "rain", status=1).stderr)
        self.assertIn("two sets are named 'pairs'", self.survey(*pairs, *pairs, status=1).stderr)
        for name in ("input", "gt"):
            (self.folder / "pairs" / name / "b.png").write_bytes(encode(noise(5, 4, 1)))
        error = self.survey(*pairs, "-o", self.folder / "curve.png", status=1).stderr
        self.assertIn("b.png' is 5x4, smaller than a patch of 8 px", error)
        self.assertNotIn("pictures\n", error, "a picture was restored before the error")


class SynthesizeTest(TestCase):
    def synthesize(self, *args, **options):
        picture = self.folder / "picture.png"
        picture.write_bytes(encode(smooth(120, 80)))
        return self.run_program("deweather-train", "synthesize", picture, *args, **options)

    def test_sheet_with_or_without_a_picture(self):
        sheet, out = self.folder / "sheet.png", self.folder / "rain.png"
        self.synthesize("--sheet", sheet, "--count", 1)
        every = decode(sheet.read_bytes())
        self.synthesize("--sheet", sheet, "--count", 1, "--weather", "rain", "-o", out)
        rain = decode(sheet.read_bytes())
        self.assertEqual(every.shape[1], rain.shape[1])
        self.assertGreater(every.shape[0], 3 * rain.shape[0])
        self.assertEqual(decode(out.read_bytes()).shape, (80, 120, 3))

    def test_wrong_usage(self):
        self.synthesize(status=2)
        self.synthesize("-o", self.folder / "out.png", status=2)
        self.synthesize("-o", self.folder / "out.png", "--weather", "frogs", status=2)
        self.synthesize("--sheet", self.folder / "out.png", "--count", 0, status=2)
        self.synthesize("-o", self.folder / "out.gif", "--weather", "rain", status=2)
        out = self.folder / "out.png"
        self.synthesize("-o", out, "--sheet", self.folder / "no/sheet.png", "--weather", "rain", status=2)
        self.assertFalse(out.exists())

    def test_residuals(self):
        clean, changed = smooth(90, 70), smooth(90, 70).astype(int) + 20
        for name, pixels in [("input", changed), ("gt", clean)]:
            (self.folder / "pairs" / name).mkdir(parents=True)
            (self.folder / "pairs" / name / "a.png").write_bytes(encode(to_bytes(pixels)))
        arguments = ["--pairs", f"bright={self.folder / 'pairs'}", "--clean", self.folder / "pairs/gt",
                     "--weather", "rain", "--weather", "haze", "--count", 3, "--crop", 48]
        report = json.loads(self.run_program("deweather-train", "residuals", *arguments, "--json").stdout)
        rows = {row["name"]: row for row in report["residuals"]}
        self.assertEqual(list(rows), ["pairs bright", "synthetic rain", "synthetic haze"])
        self.assertGreater(rows["pairs bright"]["mean"][0], 0.05)
        self.assertEqual(rows["synthetic haze"]["pictures"], 3)
        table = self.run_program("deweather-train", "residuals", *arguments).stdout
        self.assertEqual(len(table.splitlines()), 4)
        self.run_program("deweather-train", "residuals", status=2)
        self.run_program("deweather-train", "residuals", "--clean", self.folder, status=2)


class CommandLineTest(TestCase):
    def run_train(self, *args, **options):
        return self.run_program("deweather-train", *args, **options)

    def test_output_that_cannot_be_written_is_an_error(self):
        for redirected in (">/dev/full", ">&-"):
            command = f"'{program('deweather-train')}' inspect --json {redirected}"
            done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr, "UNAVAILABLE: cannot write to stdout\n")

    def test_flags_that_would_be_ignored_are_refused(self):
        for flags in (["--batch", 2], ["--size", 64], ["--kind", "ffn"], ["--model", "x"],
                      ["--loading", 1, "--json"], ["--loading", 1, "--threads", 1]):
            error = self.run_train("bench", "--config", "x", *flags, status=2).stderr
            self.assertIn(str(flags[0]), error)
        self.run_train("inspect", "x", "--kept", 2, status=2)
        self.run_train("bench", "--runs", 0, status=2)

    def test_inspect_tells_what_the_router_is(self):
        told = json.loads(self.run_train("inspect", "--json", "--kind", "ffn").stdout)
        router = ("experts_by_block", "residual_ffn", "tasks", "calibration", "router_passes", "router_dropout")
        self.assertEqual([told[field] for field in router], [[], False, [], "none", 5, 0.1])

    def test_a_word_that_is_no_command_is_named(self):
        self.assertIn("'frogs'", self.run_train("frogs", status=2).stderr)
        self.assertIn("subcommand", self.run_train(status=2).stderr)

    def test_curve_of_a_file_without_records(self):
        log = self.folder / "log.jsonl"
        log.write_text('{"step":1,"event":"started"}\nnot ours\n')
        out = self.folder / "curve.png"
        self.assertIn(str(log), self.run_train("curve", log, "-o", out, status=1).stderr)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main()
