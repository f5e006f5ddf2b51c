"""scripts/ablation.py keeps what is finished, and nothing of another configuration. A fake program trains."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/ablation.py"

# Where it is asked to train it notes which run it is; where it is asked to break off it does.
FAKE = """#!/usr/bin/env bash
[ "$1" = run ] || { echo '{}'; exit; }
folder=$(dirname "$3")
basename "$folder" >> trained
[ ! -e "break-$(basename "$folder")" ]
"""


class AblationTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        configs = self.root / "training/configs/ablation"
        configs.mkdir(parents=True)
        (configs / "base.textproto").write_text('name: "fme"\nsteps: 9\nbatch: 8\n')
        (configs / "variants.ini").write_text('[Experts]\nones = distill: { teacher: "moe-vit-SEED/m" }\n'
                                              "moe-vit = batch: 4\n")
        (self.root / "program").write_text(FAKE)
        (self.root / "program").chmod(0o755)
        # No picture is read or drawn here.
        (self.root / "PIL.py").write_text("Image = ImageChops = ImageDraw = ImageFont = ImageStat = None\n")
        self.base = configs / "base.textproto"

    def run_script(self, *options):
        """The runs that were trained, in their order, and what was told."""
        out = self.root / ("out/ablation-2-steps" if "--steps" in options else "out/ablation")
        (out / "photos").mkdir(parents=True, exist_ok=True)
        (out / "trained").write_text("")
        done = subprocess.run([sys.executable, "-B", SCRIPT, self.root, "--program", self.root / "program", "--seeds",
                               "1", "--jobs", "1", "--no-times", *options], capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONPATH": str(self.root)})
        return (out / "trained").read_text().split(), done.stderr

    def test_finished_is_kept(self):
        self.assertEqual(self.run_script("--only", "fme")[0], ["fme-1"])
        self.assertEqual(self.run_script("--only", "fme")[0], [])

    def test_finished_with_another_configuration_is_refused(self):
        self.run_script("--only", "fme")
        self.base.write_text(self.base.read_text() + "seed: 1\nloss: 2\n")
        trained, told = self.run_script("--only", "fme")
        self.assertEqual(trained, [])
        self.assertIn("fme-1' is of another configuration", told)

    def test_a_try_has_a_folder_of_its_own(self):
        self.assertEqual(self.run_script("--only", "fme", "--steps", "2")[0], ["fme-1"])
        self.assertEqual(self.run_script("--only", "fme")[0], ["fme-1"])

    def test_teachers_come_first(self):
        trained, _ = self.run_script()
        self.assertLess(trained.index("moe-vit-1"), trained.index("ones-1"))

    def test_no_student_of_a_teacher_that_is_not_finished(self):
        trained, told = self.run_script("--only", "ones")
        self.assertEqual(trained, [])
        self.assertIn("its teacher moe-vit-1 is not finished", told)
        (self.root / "out/ablation/break-moe-vit-1").touch()
        self.assertNotIn("ones-1", self.run_script()[0])


if __name__ == "__main__":
    unittest.main()
