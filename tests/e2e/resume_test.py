"""Training that is killed goes on as if nothing had happened: the real program, on a network of a few tokens.

DEWEATHER_KILLS: kills of the random test (default 20; 100 in e2e.resume_slow).
"""

import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import time

from harness import TestCase, main, noise, np, program

CONFIG = """
name: "tiny"
model { kind: KIND_FME embed_dim: 16 heads: 2 head_dim: 8 channels: 4 experts: 4 kept: 2 residual: true
  tile_px: 32 overlap_px: 8 }
data { clean { dir: "%(clean)s" weather: "rain" untouched_share: 0.2 }
  pairs { dir: "%(pairs)s" task: "pairs" } crop_px: 32 loader_threads: %(loaders)d }
batch: 2
steps: %(steps)d
optimizer { learning_rate: 1e-3 warmup_steps: 5 }
seed: 7
threads: 1
log_every_steps: 1
checkpoint_every_steps: %(every)d
output_dir: "%(out)s"
resume: true
%(more)s
"""
STEPS = 40


def picture(path, seed, shift=0):
    from PIL import Image
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(noise(8, 8, seed=seed)).resize((64, 56), Image.BICUBIC)
    Image.fromarray(np.clip(np.asarray(small, np.int16) + shift, 0, 255).astype(np.uint8)).save(path)


def read_safetensors(path):
    """(metadata, tensors as bytes, file) of a whole file, checked by hand."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    end = max(entry["data_offsets"][1] for entry in header.values())
    assert end == len(data) - 8 - length, f"{path}: {len(data)} bytes"
    return metadata, {k: data[8 + length:][slice(*v["data_offsets"])] for k, v in header.items()}, header


def stated_and_found_hash(path):
    """The `sha256` of a checkpoint, and that of the file as it would be without it."""
    metadata, tensors, header = read_safetensors(path)
    stated = metadata.pop("sha256")
    text = json.dumps({**header, "__metadata__": metadata}, sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(tensors[name] for name in sorted(tensors))
    return stated, hashlib.sha256(struct.pack("<Q", len(text)) + text + body).hexdigest()


class ResumeTest(TestCase):
    def setUp(self):
        super().setUp()
        for i in range(4):
            picture(self.folder / f"clean/{i}.png", i)
            picture(self.folder / f"pairs/input/{i}.png", i, shift=30)
            picture(self.folder / f"pairs/gt/{i}.png", i)

    def config(self, out, loaders=1, steps=STEPS, every=5, more=""):
        path = self.folder / f"{out}.textproto"
        path.write_text(CONFIG % {"clean": self.folder / "clean", "pairs": self.folder / "pairs",
                                  "loaders": loaders, "steps": steps, "every": every,
                                  "out": self.folder / out, "more": more})
        return path

    def start(self, config):
        return subprocess.Popen([program("deweather-train"), "run", "--config", str(config)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def train(self, out, **options):
        return self.run_program("deweather-train", "run", "--config", self.config(out, **options))

    def kill_at(self, config, step, how=signal.SIGKILL):
        """Ends a run as soon as it tells of this step; its exit status."""
        with self.start(config) as process:
            for line in process.stdout:
                if f"step {step}/" in line:
                    process.send_signal(how)
                    break
            process.stdout.read()
            return process.wait(60)

    def weights(self, out):
        return hashlib.sha256((self.folder / out / "tiny.safetensors").read_bytes()).hexdigest()

    def newest_state(self, out):
        """Everything in the last checkpoint but the time it took."""
        path = max((self.folder / out / "checkpoints").glob("step-*.safetensors"))
        metadata, tensors, _ = read_safetensors(path)
        return path.name, {k: v for k, v in metadata.items() if k not in ("elapsed_seconds", "sha256")}, tensors

    def check_files(self, out):
        """Every file that bears its final name is whole; returns how many."""
        folder = self.folder / out
        for path in (folder / "checkpoints").glob("*.safetensors"):
            stated, found = stated_and_found_hash(path)
            self.assertEqual(stated, found, path)
        for path in folder.glob("*.safetensors"):
            read_safetensors(path)
        return len(list(folder.rglob("*.safetensors")))

    def test_killed_and_resumed_has_the_same_weights(self):
        self.train("whole")
        for loaders in (1, 3):
            out = f"halves{loaders}"
            config = self.config(out, loaders=loaders)
            self.assertEqual(self.kill_at(config, STEPS // 2), -signal.SIGKILL)
            self.train(out, loaders=loaders)
            self.assertEqual(self.weights(out), self.weights("whole"), f"{loaders} loader threads")
            self.assertEqual(self.newest_state(out), self.newest_state("whole"))

    def test_bf16_and_accumulated_passes_resume_too(self):
        more = "precision: PRECISION_BF16 accumulate: 2"
        self.train("whole", steps=16, more=more)
        config = self.config("halves", steps=16, more=more, loaders=2)
        self.assertEqual(self.kill_at(config, 8), -signal.SIGKILL)
        self.train("halves", steps=16, more=more)
        self.assertEqual(self.weights("halves"), self.weights("whole"))

    def wait_for_a_write(self, process, out, more):
        """Until a checkpoint, or its beginning, appears and has grown for so many seconds."""
        folder = self.folder / out / "checkpoints"
        before = set(os.listdir(folder)) if folder.exists() else set()
        while process.poll() is None:
            if folder.exists() and set(os.listdir(folder)) - before:
                break
        end = time.perf_counter() + more
        while time.perf_counter() < end:
            pass

    def test_no_random_kill_leaves_a_torn_checkpoint(self):
        kills = int(os.environ.get("DEWEATHER_KILLS", "20"))
        steps = 8 * kills
        self.train("whole", steps=steps)
        config = self.config("killed", steps=steps, every=1, loaders=2)
        chance = random.Random(1)
        done = found = torn = 0
        while done < kills:
            with self.start(config) as process:
                # Some die while they start, some anywhere, most while they write.
                for _ in range(chance.choice((0, 1, 2, 3, 4, 6, 8))):
                    if not process.stdout.readline():
                        break
                if done % 4:
                    self.wait_for_a_write(process, "killed", chance.uniform(0, 0.0005))
                else:
                    time.sleep(chance.uniform(0, 0.03))
                process.kill()
                process.stdout.read()
                errors = process.stderr.read()
            self.assertIn(process.returncode, (0, -signal.SIGKILL), errors)
            self.assertNotIn("passed over", errors)
            found += self.check_files("killed")
            torn += len(list((self.folder / "killed").rglob("*.partial.*")))
            if process.returncode == 0:
                break
            done += 1
        print(f"{done} kills, {torn} while writing, {found} files whole")
        self.assertGreater(done, kills * 3 // 4)
        self.assertGreater(torn, 0)
        self.train("killed", steps=steps)
        self.assertEqual(self.weights("killed"), self.weights("whole"))
        self.assertEqual(self.newest_state("killed"), self.newest_state("whole"))
        self.assertEqual(list((self.folder / "killed").rglob("*.partial.*")), [])

    def test_sigterm_checkpoints_and_exits(self):
        config = self.config("stopped", every=1000)
        self.assertEqual(self.kill_at(config, 5, signal.SIGTERM), 3)
        name, metadata, _ = self.newest_state("stopped")
        self.assertGreaterEqual(int(metadata["step"]), 5)
        self.assertLess(int(metadata["step"]), STEPS)
        self.train("whole")
        self.train("stopped")
        self.assertEqual(self.weights("stopped"), self.weights("whole"))

    def test_second_run_in_the_same_folder_is_refused(self):
        config = self.config("shared", steps=100000)
        with self.start(config) as first:
            first.stdout.readline()
            second = self.run_program("deweather-train", "run", "--config", config, status=1)
            self.assertIn("FAILED_PRECONDITION", second.stderr)
            self.assertIn(str(self.folder / "shared/.lock"), second.stderr)
            first.send_signal(signal.SIGTERM)
            first.stdout.read()


if __name__ == "__main__":
    main()
