"""What a run leaves for those who watch it, read by the programs that they watch with."""

import collections
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import termios

from harness import Image, TestCase, encode, main, np, program, skip, smooth

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError:
    skip("no tensorboard: run scripts/setup")

CONFIG = """
name: "tiny"
model {{
  kind: KIND_FME embed_dim: 16 depth: 1 heads: 2 head_dim: 8 channels: 4 tail_scale: 2
  experts: 4 kept: 2 residual: true tile_px: 32 overlap_px: 8
}}
data {{ clean {{ dir: "{folder}/clean" weather: "rain" }} crop_px: 32 }}
batch: 2 steps: {steps} threads: 1 seed: 3
log_every_steps: 1 checkpoint_every_steps: 10
evaluate {{ pairs_dir: "{folder}/pairs" every_steps: 20 }}
output_dir: "{output}"
resume: {resume}
"""


def read_terminal(terminal):
    """What is written to a terminal until nobody holds its other end."""
    written = b""
    while True:
        try:
            written += os.read(terminal, 4096)
        except OSError:
            return written.decode()


class TrainingTest(TestCase):
    def setUp(self):
        super().setUp()
        for name in ("clean", "pairs/input", "pairs/gt"):
            (self.folder / name).mkdir(parents=True)
        for i in range(3):
            (self.folder / f"clean/{i}.png").write_bytes(encode(smooth(60 + i, 50)))
        picture = smooth(40, 36)
        noisy = np.clip(picture + np.random.default_rng(1).normal(0, 20, picture.shape), 0, 255)
        (self.folder / "pairs/gt/a.png").write_bytes(encode(picture))
        (self.folder / "pairs/input/a.png").write_bytes(encode(noisy.astype(np.uint8)))
        self.output = self.folder / "out"

    def config(self, steps=30, resume=False, output=None):
        path = self.folder / "config.textproto"
        path.write_text(CONFIG.format(folder=self.folder, steps=steps, resume=str(resume).lower(),
                                      output=output or self.output))
        return path

    def train(self, *args, status=0, text=True, **config):
        return self.run_program("deweather-train", "run", "--config", self.config(**config), *args,
                                status=status, text=text)

    def train_and_kill(self, at_step, **config):
        """Kills the program once it has told of this step."""
        command = [program("deweather-train"), "run", "--config", self.config(**config), "--progress", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            # A short pipe and no buffer: the program is at most a dozen steps ahead.
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            for line in process.stdout:
                if json.loads(line)["step"] >= at_step:
                    process.kill()
                    break
        self.assertEqual(process.returncode, -signal.SIGKILL)

    def log(self, output=None):
        text = ((output or self.output) / "log.jsonl").read_text()
        self.assertTrue(text.endswith("\n"))
        return [json.loads(line) for line in text.splitlines()]

    def scalars_of_log(self):
        """{name: {step: value}}; no step twice."""
        found = collections.defaultdict(dict)
        for line in self.log():
            if "event" in line:
                continue
            step = line.pop("step")
            line.pop("time")
            for name, value in line.items():
                self.assertNotIn(step, found[name], name)
                found[name][step] = value
        return found

    def scalars_of_tensorboard(self):
        everything = {event_accumulator.SCALARS: 0}
        events = event_accumulator.EventAccumulator(str(self.output), size_guidance=everything)
        events.Reload()
        found = {}
        for name in events.Tags()["scalars"]:
            steps = [scalar.step for scalar in events.Scalars(name)]
            self.assertEqual(steps, sorted(set(steps)), name)
            found[name] = {scalar.step: scalar.value for scalar in events.Scalars(name)}
        return found

    def check_same_story(self, steps):
        """The log, which has every step once, against what TensorBoard reads."""
        logged = self.scalars_of_log()
        self.assertEqual(list(logged["loss/all"]), list(range(1, steps + 1)))
        shown = self.scalars_of_tensorboard()
        self.assertEqual(shown.keys(), logged.keys())
        for name, values in logged.items():
            expected = {step: float(np.float32(value)) for step, value in values.items()}
            self.assertEqual(shown[name], expected, name)
        return logged

    def test_log_and_tensorboard_hold_the_same(self):
        self.train()
        logged = self.check_same_story(30)
        for name in ("loss/balance", "loss/rain", "learning_rate", "gradient_norm", "images_per_second",
                     "skipped/steps", "skipped/pictures"):
            self.assertEqual(len(logged[name]), 30, name)
        for name in ("psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"):
            self.assertEqual(list(logged[f"evaluation/pairs/{name}"]), [20, 30])
        happened = [line["event"] for line in self.log() if "event" in line]
        self.assertEqual(happened, ["started", *["checkpoint"] * 3, "finished"])

    def test_curve_is_a_picture(self):
        self.train()
        with Image.open(self.output / "curve.png") as picture:
            self.assertEqual((picture.size, picture.mode), ((1600, 1000), "RGB"))
            self.assertGreater(np.unique(np.asarray(picture).reshape(-1, 3), axis=0).shape[0], 50)
        log = self.output / "log.jsonl"
        self.run_program("deweather-train", "curve", log, log, "-o", self.folder / "two.png")
        with Image.open(self.folder / "two.png") as picture:
            self.assertEqual(picture.size, (1600, 1000))
        failed = self.run_program("deweather-train", "curve", self.folder / "absent", "-o", "x.png", status=1)
        self.assertTrue(failed.stderr.startswith("NOT_FOUND: "), failed.stderr)

    def test_sheets_show_crops_and_the_worst_pictures(self):
        self.train(steps=20)
        for name, columns in (("crops.png", 2), ("comparison.png", 3)):
            with Image.open(self.output / name) as picture:
                self.assertGreater(picture.size[0], columns * 32, name)

    def test_wrong_configuration_has_a_status_of_its_own(self):
        shutil.rmtree(self.folder / "clean")
        failed = self.train(status=2, resume=True)
        self.assertTrue(failed.stderr.startswith("NOT_FOUND: "), failed.stderr)
        end = self.log()[-1]  # for whoever cannot see the status
        self.assertEqual((end["event"], end["code"], end["exit_status"]), ("failed", "NOT_FOUND", 2))

    def test_json_on_stdout_is_the_log(self):
        done = self.train("--progress", "json", steps=10)
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], self.log())

    def test_lines_on_stdout(self):
        done = self.train("--progress", "lines", steps=10)
        steps = [line for line in done.stdout.splitlines() if line.startswith("step ") and "loss" in line]
        self.assertEqual([line.split()[1] for line in steps], [f"{i}/10" for i in range(1, 11)])
        self.assertNotIn("\r", done.stdout)

    def test_stdout_that_is_no_terminal_gets_lines(self):
        done = self.train(steps=10)
        self.assertIn("step 10/10  loss ", done.stdout)

    def test_bar_leaves_nothing_behind(self):
        done = self.train("--progress", "bar", text=False)
        self.assertIn(b"/30 [", done.stdout)
        left = [line.rsplit(b"\r\033[K", 1)[-1] for line in done.stdout.rstrip(b"\n").split(b"\n")]
        self.assertEqual(len(left), 3, left)
        for line, beginning in zip(left, (b"step 20  evaluation", b"step 30  evaluation", b"wrote ")):
            self.assertTrue(line.startswith(beginning), left)

    def test_terminal_gets_a_bar_of_its_width(self):
        columns = 50
        terminal, behind = os.openpty()
        fcntl.ioctl(behind, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = [program("deweather-train"), "run", "--config", self.config()]
        with subprocess.Popen(command, stdout=behind) as process:
            os.close(behind)
            written = read_terminal(terminal)
        os.close(terminal)
        self.assertEqual(process.returncode, 0)
        bars = [line for line in written.split("\r\033[K") if re.match(r"\d+/30", line)]
        self.assertTrue(bars, written)
        for bar in bars:
            self.assertLess(len(bar), columns)

    def test_run_that_is_refused_leaves_the_log_of_another(self):
        self.train(steps=10)
        before = self.log(), sorted(self.output.iterdir())
        done = self.train("--progress", "json", steps=10, status=2)
        self.assertTrue(done.stderr.startswith("ALREADY_EXISTS: "), done.stderr)
        self.assertEqual(json.loads(done.stdout)["event"], "failed")
        self.assertEqual((self.log(), sorted(self.output.iterdir())), before)

    def test_killed_and_resumed_is_one_story(self):
        self.train_and_kill(at_step=35, steps=80)
        with (self.output / "log.jsonl").open("a") as log:
            log.write('{"step":99,"loss/al')  # as a power cut may leave it
        self.train_and_kill(at_step=55, steps=80, resume=True)
        self.train(steps=80, resume=True)
        logged = self.check_same_story(80)
        self.assertEqual([line["step"] for line in self.log()], sorted(line["step"] for line in self.log()))
        self.assertGreaterEqual([line.get("event") for line in self.log()].count("resumed"), 2)
        self.output = self.folder / "at_once"
        self.train(steps=80)
        self.assertEqual(self.scalars_of_log()["loss/all"], logged["loss/all"])

    def test_log_that_cannot_be_written_does_not_end_the_run(self):
        (self.output / "log.jsonl/a").mkdir(parents=True)
        done = self.train(steps=10)
        kinds = [line.split(":")[1].strip() for line in done.stderr.splitlines()]
        self.assertEqual(kinds[:2], ["log", "curve"], done.stderr)
        self.assertRegex(kinds[2], r"\d+ records of the run could not be written")
        self.assertEqual(len(kinds), 3, done.stderr)
        self.assertTrue(done.stdout.splitlines()[-1].startswith("wrote "))
        self.assertEqual(len(self.scalars_of_tensorboard()["loss/all"]), 10)

    def test_reader_that_goes_away_does_not_end_the_run(self):
        command = [program("deweather-train"), "run", "--config", self.config(), "--progress", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.wait(120), 0)
        self.check_same_story(30)

    def test_wrong_style_is_wrong_usage(self):
        self.train("--progress", "loud", status=2)


if __name__ == "__main__":
    main()
