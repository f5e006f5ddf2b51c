"""examples/cpp, built with nothing but an installation of the library, against real servers; docs/cpp.md as printed."""

import os
import pathlib
import shutil
import tempfile
import unittest

from tools import BIN, EXAMPLES, ROOT, Server, TestCase, blocks, decode, encode, main, missing, noise, np, run, skip, smooth, tool

if not shutil.which("cmake"):
    skip("no cmake here")
if not (BIN.parent / "client/cpp/libdeweather_client.so").exists():
    skip("libdeweather_client.so is not built")


def bmp(pixels):
    return encode(pixels, "BMP")


def frames_of(data):
    """BMP files in a row."""
    while data:
        size = int.from_bytes(data[2:6], "little")
        yield np.asarray(decode(data[:size]))
        data = data[size:]


class CppTest(TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.root = pathlib.Path(folder.name).resolve()
        cls.prefix, cls.build = cls.root / "prefix", cls.root / "build"
        run("cmake", "--install", BIN.parent, "--prefix", cls.prefix, "--component", "client")
        # A copy, so that nothing of this tree is beside it.
        shutil.copytree(EXAMPLES / "cpp", cls.root / "example")
        run("cmake", "-S", cls.root / "example", "-B", cls.build, "-D", f"CMAKE_PREFIX_PATH={cls.prefix}",
            "-D", "CMAKE_CXX_FLAGS=-Wall -Wextra -Werror", "-D", "CMAKE_EXPORT_COMPILE_COMMANDS=ON")
        run("cmake", "--build", cls.build)
        cls.server = Server("--model", "deweather-small")
        cls.addClassCleanup(cls.server.__exit__)

    def run_example(self, name, *args, status=0, **options):
        return run(self.build / name, *args, status=status, cwd=self.folder, **options)

    def test_it_was_built_with_the_installation_alone(self):
        for name in ["CMakeCache.txt", "compile_commands.json"]:
            self.assertNotIn(str(ROOT), (self.build / name).read_text())
        libraries = run("ldd", self.build / "restore").stdout
        self.assertNotIn("not found", libraries)
        self.assertNotIn(str(ROOT), libraries)
        self.assertIn(f"libdeweather_client.so.0.1 => {self.prefix}", libraries)

    def test_the_installation_has_the_library_and_no_more(self):
        installed = {path.relative_to(self.prefix).as_posix() for path in self.prefix.rglob("*") if path.is_file()}
        self.assertIn("include/deweather/client.h", installed)
        for name in installed:
            self.assertRegex(name, r"^include/deweather/\w+\.h$|^lib/(\S+/)?libdeweather_client\.so[.0-9]*$|"
                                   r"^lib/(\S+/)?cmake/deweather_client/deweather_client-[-a-z]+\.cmake$")

    def test_a_version_too_new_is_refused(self):
        project = self.folder / "project"
        project.mkdir()
        (project / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.23)\nproject(x LANGUAGES CXX)\n"
                                                "find_package(deweather_client 9.9 REQUIRED)\n")
        done = run("cmake", "-S", project, "-B", project / "build", "-D", f"CMAKE_PREFIX_PATH={self.prefix}", status=1)
        self.assertIn("deweather_client", done.stderr)

    def test_pixels_are_those_of_grpc(self):
        picture = encode(smooth(300, 200))
        (self.folder / "in.png").write_bytes(picture)
        done = self.run_example("restore", self.server.address, "in.png", "out.png")
        with self.server.client() as client:
            expected = decode(client.restore(picture).image)
        np.testing.assert_array_equal(decode((self.folder / "out.png").read_bytes()), expected)
        self.assertIn("300x200", done.stdout)
        self.assertIn("model deweather-small ", done.stdout)
        self.assertIn("experts, percent of the tokens:", done.stdout)

    def test_errors_name_what_is_wrong(self):
        (self.folder / "in.png").write_bytes(b"no picture")
        done = self.run_example("restore", self.server.address, "in.png", "out.png", status=1)
        self.assertRegex(done.stderr, r"INVALID_ARGUMENT: .*\nrequest [0-9a-f]{32}\n")
        self.assertFalse((self.folder / "out.png").exists())

    def test_frames_come_back_in_order(self):
        with Server("--model", "identity") as server:
            frames = [noise(40, 30, seed=i) for i in range(20)]
            done = self.run_example("restore_frames", server.address, input=b"".join(map(bmp, frames)), text=False)
        self.assertEqual(done.stderr, b"20 frames, 0 failed\n")
        restored = list(frames_of(done.stdout))
        self.assertEqual(len(restored), 20)
        for sent, came in zip(frames, restored):
            np.testing.assert_array_equal(came, sent)

    def test_a_broken_pipe_of_frames(self):
        done = self.run_example("restore_frames", self.server.address, input=bmp(noise(40, 30))[:-1], text=False, status=1)
        self.assertIn(b"ends within a frame", done.stderr)
        done = self.run_example("restore_frames", self.server.address, input=b"no pictures", text=False, status=1)
        self.assertIn(b"no BMP file", done.stderr)

    @unittest.skipUnless(tool("ffmpeg"), missing("ffmpeg"))
    def test_a_video(self):
        video, restored = self.folder / "in.mkv", self.folder / "out.mkv"
        ffmpeg = tool("ffmpeg")
        run(ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1.2", "-f", "lavfi", "-i",
            "sine=duration=1.2", "-c:v", "ffv1", "-c:a", "flac", video)
        with Server("--model", "identity") as server:
            env = {**os.environ, "FFMPEG": ffmpeg, "RESTORE_FRAMES": str(self.build / "restore_frames"), "ENCODER": "ffv1"}
            done = run(EXAMPLES / "video/restore_video.sh", server.address, video, restored, env=env)
        self.assertIn("12 frames, 0 failed", done.stderr)
        pixels = [run(ffmpeg, "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-", text=False).stdout
                  for path in (video, restored)]
        sent, came = (np.frombuffer(data, np.uint8).reshape(-1, 48, 64, 3).astype(int) for data in pixels)
        self.assertEqual(came.shape, sent.shape)
        # What 4:2:0 costs at the pattern's edges.
        self.assertLess(np.abs(came - sent).mean(), 8)
        self.assertIn("Audio: flac", run(ffmpeg, "-hide_banner", "-i", restored, status=1).stderr)

    def test_docs_as_printed(self):
        code, = blocks("docs/cpp.md", "cpp")
        self.assertEqual(code, (EXAMPLES / "cpp/quick_start.cc").read_text())
        (self.folder / "rainy.jpg").write_bytes(encode(smooth(120, 80), "JPEG", quality=90))
        done = self.run_example("quick_start", self.server.address)
        self.assertEqual(done.stdout, "120 px wide, by deweather-small\n")
        self.assertEqual(decode((self.folder / "restored.jpg").read_bytes()).shape, (80, 120, 3))
        (self.folder / "rainy.jpg").write_bytes(b"no picture")
        done = self.run_example("quick_start", self.server.address, status=1)
        self.assertRegex(done.stderr, r"^INVALID_ARGUMENT: .*\n$")

    def test_the_project_that_docs_print(self):
        """Its CMakeLists.txt and its code, where the commands that are printed beside them build it."""
        cmake, = blocks("docs/cpp.md", "cmake")
        code, = blocks("docs/cpp.md", "cpp")
        commands = blocks("docs/cpp.md", "sh")[-1]
        (self.folder / "CMakeLists.txt").write_text(cmake)
        (self.folder / "main.cc").write_text(code)
        run("bash", "-euc", commands, cwd=self.folder, env={**os.environ, "PREFIX": str(self.prefix)})
        self.assertTrue((self.folder / "build/quick_start").exists())


if __name__ == "__main__":
    main()
