"""`cmake --install` to a folder of its own: the programs start without the build tree and the virtual environment."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from prerequisites import ROOT, need

BIN = pathlib.Path(os.environ.get("DEWEATHER_BIN") or ROOT / "build/release/bin")
CMAKE = need("cmake")
PROGRAMS = ["deweather", "deweather-server", "deweather-train"]
# What a program for the processor alone loads of the wheels.
LIBRARIES = {"libc10.so", "libcudart.so.13", "libcupti.so.13", "libgomp.so.1", "libtorch_cpu.so"}
SYSTEM = ("/lib/", "/lib64/", "/usr/lib/")


def output(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, **options).stdout


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.prefix = pathlib.Path(folder.name).resolve()
        output(CMAKE, "--install", BIN.parent, "--prefix", cls.prefix)

    def test_the_programs_start(self):
        for name in PROGRAMS:
            self.assertRegex(output(self.prefix / "bin" / name, "--version", env={}), rf"^{name} \d+\.\d+\.\d+\n$")

    def test_they_load_what_is_installed_and_what_the_system_has(self):
        for name in PROGRAMS:
            program = self.prefix / "bin" / name
            self.assertIn("[$ORIGIN/../lib/deweather]", output("readelf", "-d", program))
            for line in output("ldd", program, env={"PATH": os.environ["PATH"]}).splitlines():
                self.assertNotIn("not found", line)
                for path in re.findall(r"=> (/\S+)", line):
                    self.assertTrue(path.startswith(SYSTEM) or str(self.prefix) in path, path)

    def test_the_server_looks_for_models_beside_itself_alone(self):
        done = subprocess.run([self.prefix / "bin/deweather-server", "--listen", "127.0.0.1:0", "--metrics-listen", "",
                               "--model", "nosuch"], capture_output=True, text=True, check=False, env={}, timeout=60)
        self.assertEqual(done.stderr.splitlines()[-1],
                         f"deweather-server: no model 'nosuch' in {self.prefix}/share/deweather/models")

    def test_they_compute(self):
        """What LibTorch opens while it runs is there, too."""
        with tempfile.TemporaryDirectory() as folder:
            picture = pathlib.Path(folder) / "snowy.png"
            clean = ROOT / "docs/weather/rain.jpg"
            output(self.prefix / "bin/deweather-train", "synthesize", clean, "-o", picture, "--weather", "snow", env={})
            self.assertGreater(picture.stat().st_size, 0)
        model = self.prefix / "share/deweather/models/deweather-small.safetensors"
        self.assertIn("fme", output(self.prefix / "bin/deweather-train", "inspect", model, env={}))

    @unittest.skipIf("DEWEATHER_CUDA:BOOL=ON" in (BIN.parent / "CMakeCache.txt").read_text(), "a build for GPUs")
    def test_no_library_too_many(self):
        self.assertEqual({path.name for path in (self.prefix / "lib/deweather").iterdir()}, LIBRARIES)

    def test_models_terms_and_configuration(self):
        for name in ["share/deweather/models/deweather-small.md", "share/deweather/models/deweather-rain.safetensors",
                     "share/deweather/backup",
                     "share/doc/deweather/LICENSE", "share/doc/deweather/docs/jobs.md"]:
            self.assertTrue((self.prefix / name).is_file(), name)
        self.assertTrue(list(self.prefix.glob("share/doc/deweather/wheels/torch-*.dist-info/licenses/LICENSE")))
        config = self.prefix / "etc/deweather/server.textproto"
        self.assertIn("listen:", config.read_text())


if __name__ == "__main__":
    sys.exit(unittest.main())
