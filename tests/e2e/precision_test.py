"""What bf16 costs in quality: the shipped models on Rain100L, against themselves in f32.

Restores 100 pictures four times, so it is labelled slow. Without the data it is skipped.
"""

import json
import os
import pathlib
import unittest

from harness import ROOT, TestCase, decode, main, np

DATA = pathlib.Path(os.environ.get("DEWEATHER_DATA", ROOT.parent / "shared/data"))
RAIN = DATA / "eval/rain100l"
LEAST_DB = 45  # between the two outputs
MOST_LOST_DB = 0.02  # of PSNR to the truth


def psnr(first, second):
    error = np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2)
    return 100.0 if error == 0 else 10 * np.log10(255 ** 2 / error)


@unittest.skipUnless(RAIN.is_dir(), f"no {RAIN}: set DEWEATHER_DATA")
class PrecisionTest(TestCase):
    def evaluate(self, model, precision):
        """PSNR to the truth, and the folder of the restored pictures."""
        folder = self.folder / f"{model.stem}-{precision}"
        folder.mkdir()
        done = self.run_program("deweather-train", "evaluate", "--model", model, "--pairs", RAIN,
                                "--precision", precision, "-o", folder, "--json", timeout=1500)
        return json.loads(done.stdout), folder

    def test_bf16_against_f32(self):
        for name in ("deweather-small", "deweather-rain"):
            with self.subTest(name):
                model = ROOT / f"model/weights/{name}.safetensors"
                (exact, wanted), (rounded, found) = (self.evaluate(model, p) for p in ("f32", "bf16"))
                files = sorted(path.relative_to(wanted) for path in wanted.rglob("*.png"))
                self.assertEqual(len(files), exact["images"])
                between = [psnr(*(decode((folder / file).read_bytes()) for folder in (wanted, found)))
                           for file in files]
                lost = {key: exact[key] - rounded[key] for key in ("psnr_y", "psnr_rgb")}
                print(f"{name}: bf16 against f32 {np.mean(between):.2f} dB (worst {min(between):.2f}); "
                      f"f32 - bf16 of PSNR to the truth: {lost}")
                self.assertGreaterEqual(np.mean(between), LEAST_DB)
                for key, decibels in lost.items():
                    self.assertLessEqual(abs(decibels), MOST_LOST_DB, key)


if __name__ == "__main__":
    main()
