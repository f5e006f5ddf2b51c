"""Training by several processes, as torchrun, Slurm or Kubernetes start them: by their environment.

DEWEATHER_TORCHRUN: PyTorch's torchrun, for the tests that need it.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess

from harness import TestCase, main, np, program, wait_until
from resume_test import picture, read_safetensors

CONFIG = """
name: "tiny"
model { kind: KIND_FME embed_dim: 16 heads: 2 head_dim: 8 channels: 4 experts: %(experts)d kept: %(kept)d
  residual: true tile_px: 32 overlap_px: 8 }
data { clean { dir: "%(clean)s" weather: "rain" untouched_share: 0.2 } crop_px: 32 loader_threads: 1 }
batch: %(batch)d
steps: %(steps)d
optimizer { learning_rate: 1e-3 warmup_steps: 5 }
seed: %(seed)d
threads: 1
log_every_steps: 1
checkpoint_every_steps: %(every)d
rank_timeout { seconds: %(timeout)d }
output_dir: "%(out)s"
%(more)s
"""
FOREVER = 1000000


ports = itertools.count(os.getpid() * 16)


def free_port():
    """Below those that the system gives to clients, and another one for each process: nobody takes it meanwhile."""
    while True:
        port = 10000 + next(ports) % 20000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def place(rank, count, port, address="127.0.0.1"):
    return {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), "MASTER_ADDR": address,
            "MASTER_PORT": str(port)}


class Rank:
    """One process of a run."""

    def __init__(self, config, env, within=()):
        # The launcher's variables are the test's alone.
        clean = {k: v for k, v in os.environ.items() if k not in place(0, 1, 1) and k != "TORCHELASTIC_USE_AGENT_STORE"}
        self.process = subprocess.Popen(
            [*within, program("deweather-train"), "run", "--config", str(config), "--progress", "lines"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**clean, **env})

    def wait_for_step(self, step):
        for line in self.process.stdout:
            if f"step {step}/" in line:
                return
        raise AssertionError(f"ended before step {step}: {self.process.stderr.read()}")

    def end(self, timeout=60):
        """Its exit status and what it wrote."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


class RanksTest(TestCase):
    def setUp(self):
        super().setUp()
        for i in range(4):
            picture(self.folder / f"clean/{i}.png", i)

    def config(self, out, batch=2, steps=20, file=None, **changes):
        path = self.folder / f"{file or out}.textproto"
        path.write_text(CONFIG % {"experts": 4, "kept": 2, "clean": self.folder / "clean", "batch": batch,
                                  "steps": steps, "seed": 7, "every": 5, "timeout": 60, "more": "",
                                  "out": self.folder / out, **changes})
        return path

    @contextlib.contextmanager
    def ranks(self, configs, envs, withins=None):
        """Starts them; none outlives the block."""
        started = [Rank(*args) for args in zip(configs, envs, withins or [()] * len(envs))]
        try:
            yield started
        finally:
            for rank in started:
                rank.process.kill()
                rank.process.communicate()

    def two(self, config, other=None):
        port = free_port()
        return self.ranks([config, other or config], [place(rank, 2, port) for rank in range(2)])

    def both_end_with(self, ranks, status):
        ends = [rank.end() for rank in ranks]
        self.assertEqual([code for code, _, _ in ends], [status, status], ends)
        return [err for _, _, err in ends]

    def losses(self, out):
        """The total loss after each step."""
        with open(self.folder / out / "log.jsonl", encoding="utf-8") as log:
            records = [json.loads(line) for line in log]
        return {record["step"]: record["loss/all"] for record in records if "loss/all" in record}

    def started(self, out):
        with open(self.folder / out / "log.jsonl", encoding="utf-8") as log:
            return json.loads(log.readline())

    def check_same_losses(self, one, other, steps):
        a, b = self.losses(one), self.losses(other)
        self.assertEqual(self.started(one)["images_per_step"], self.started(other)["images_per_step"])
        self.assertEqual(sorted(a), list(range(1, steps + 1)))
        self.assertEqual(sorted(b), sorted(a))
        for step in a:
            self.assertAlmostEqual(a[step], b[step], delta=1e-5, msg=f"step {step}")

    def weights(self, out):
        _, tensors, _ = read_safetensors(self.folder / out / "tiny.safetensors")
        return {name: np.frombuffer(data, np.float32) for name, data in tensors.items()}

    def check_same_weights(self, one, other):
        a, b = self.weights(one), self.weights(other)
        self.assertEqual(sorted(a), sorted(b))
        self.assertLess(max(np.abs(a[name] - b[name]).max() for name in a), 1e-5)

    # --- as one rank ---

    def test_two_ranks_learn_as_one_with_twice_the_batch(self):
        """Of many experts each rank has some without a token."""
        sparse = {"experts": 32, "kept": 1}
        self.run_program("deweather-train", "run", "--config", self.config("one", batch=4, **sparse))
        config, other = self.config("two", **sparse), self.config("two_rank1", **sparse)
        with self.two(config, other) as ranks:
            (first, _, _), (second, out, err) = [rank.end() for rank in ranks]
        self.assertEqual((first, second, out, err), (0, 0, "", ""))
        self.assertFalse((self.folder / "two_rank1").exists(), "rank 1 writes nothing")
        self.check_same_losses("one", "two", 20)
        self.check_same_weights("one", "two")

    def test_two_machines(self):
        """Network namespaces that see each other by a cable, and nothing else."""
        if os.geteuid() != 0 or not shutil.which("ip"):
            self.skipTest("network namespaces are root's, and made with ip")
        names = [f"dw{os.getpid()}{side}" for side in "ab"]
        self.run_program("deweather-train", "run", "--config", self.config("one", batch=4))
        with contextlib.ExitStack() as undo:
            for name in names:
                if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
                    self.skipTest("no network namespaces here")
                undo.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
            links = [f"v{name[-9:]}" for name in names]
            ip = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: E731
            ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", links[1], "netns", names[1])
            for i, (name, link) in enumerate(zip(names, links)):
                ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", link)
                ip("-n", name, "link", "set", link, "up")
                ip("-n", name, "link", "set", "lo", "up")
            config = self.config("two", batch=2)
            envs = [place(rank, 2, 29500, "10.77.0.1") for rank in range(2)]
            with self.ranks([config, config], envs, [["ip", "netns", "exec", name] for name in names]) as ranks:
                self.both_end_with(ranks, 0)
        self.check_same_losses("one", "two", 20)

    # --- ranks that are lost ---

    def test_killed_rank_ends_the_attempt_and_the_next_goes_on(self):
        with self.two(self.config("whole", steps=40)) as ranks:
            self.both_end_with(ranks, 0)
        config = self.config("killed", steps=40)
        with self.two(config) as (first, second):
            first.wait_for_step(12)
            second.process.send_signal(signal.SIGKILL)
            status, _, err = first.end()
        self.assertEqual(status, 1)
        self.assertRegex(err, r"UNAVAILABLE: rank 1 went away in (step|the evaluation and checkpoint after step) \d+")
        with self.two(self.config("killed", steps=40, more="resume: true")) as ranks:
            ranks[0].wait_for_step(40)
            self.both_end_with(ranks, 0)
        self.check_same_weights("whole", "killed")

    def test_stopped_rank_is_named(self):
        """Two runs at once, as both only wait: in one rank 0 is stopped, in the other rank 1."""
        texts = (r"rank 0, which holds the store, does not answer in .*step \d+",
                 r"rank 1 did not reach the end of .*step \d+; rank_timeout is 4s")
        with contextlib.ExitStack() as both:
            runs = [both.enter_context(self.two(self.config(f"stopped{stopped}", steps=FOREVER, timeout=4)))
                    for stopped in (0, 1)]
            for stopped, ranks in enumerate(runs):
                ranks[0].wait_for_step(5)
                ranks[stopped].process.send_signal(signal.SIGSTOP)
            for stopped, ranks in enumerate(runs):
                status, _, err = ranks[1 - stopped].end()
                self.assertEqual(status, 1)
                self.assertRegex(err, texts[stopped])
                ranks[stopped].process.send_signal(signal.SIGCONT)
            for stopped, ranks in enumerate(runs):
                self.assertEqual(ranks[stopped].end()[0], 1)

    def test_stop_of_any_rank_is_a_checkpoint(self):
        for told in (0, 1):
            out = f"told{told}"
            with self.two(self.config(out, steps=FOREVER)) as ranks:
                ranks[0].wait_for_step(7)
                ranks[told].process.send_signal(signal.SIGTERM)
                errors = self.both_end_with(ranks, 3)
            step = int(re.search(r"stopped at step (\d+)", errors[0])[1])
            self.assertTrue((self.folder / out / f"checkpoints/step-{step:09d}.safetensors").exists())

    # --- wrong from the start ---

    def test_different_configs_are_refused(self):
        picture(self.folder / "other/0.png", 9)
        for changes, text in (({"seed": 8}, "seed is '8' on rank 1 and '7' on rank 0"),
                              ({"clean": self.folder / "other"}, "data.pictures is "),
                              ({"clean": self.folder / "nowhere"}, "nowhere")):
            config = self.config("a")
            with self.two(config, self.config("a", file="b", **changes)) as ranks:
                for err in self.both_end_with(ranks, 2):
                    self.assertIn(text, err)
            self.assertEqual(list((self.folder / "a/checkpoints").iterdir()), [])

    def test_wrong_environment(self):
        port = free_port()
        for missing, text in (("MASTER_ADDR", "WORLD_SIZE is '2' but MASTER_ADDR is not set"),
                              ("MASTER_PORT", "MASTER_PORT is not set"), ("RANK", "RANK is not set")):
            env = place(0, 2, port)
            del env[missing]
            with self.ranks([self.config("wrong")], [env]) as (rank,):
                status, _, err = rank.end()
            self.assertEqual(status, 2)
            self.assertIn(text, err)
        with self.ranks([self.config("wrong")], [{"RANK": "1"}]) as (rank,):
            self.assertEqual(rank.end()[::2], (2, "INVALID_ARGUMENT: RANK is '1' but WORLD_SIZE is not set\n"))
        with self.ranks([self.config("wrong", timeout=1)], [{**place(0, 2, port), "MASTER_ADDR": "[::1]"}]) as (rank,):
            status, _, err = rank.end()
        self.assertEqual(status, 2)
        self.assertIn("MASTER_ADDR '[::1]' cannot be resolved", err)
        with self.ranks([self.config("wrong")], [place(2, 2, port)]) as (rank,):
            status, _, err = rank.end()
        self.assertEqual((status, err), (2, "INVALID_ARGUMENT: RANK is '2'; it must be a whole number from 0 to 1\n"))

    def test_taken_port_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with self.ranks([self.config("taken")], [place(0, 2, port)]) as (rank,):
                status, _, err = rank.end()
        self.assertEqual(status, 1)
        self.assertRegex(err, rf"FAILED_PRECONDITION: rank 0 cannot listen at MASTER_PORT {port}: .*\n")

    def test_ranks_that_do_not_come_are_named(self):
        config = self.config("few", timeout=5)
        port = free_port()
        with self.ranks([config, config], [place(rank, 3, port) for rank in (0, 2)]) as ranks:
            for err in self.both_end_with(ranks, 1):
                self.assertRegex(err, r"of 3 ranks ranks 0, 2 came to 127.0.0.1:\d+ within 5s, rank 1 did not")

    # --- torchrun ---

    @contextlib.contextmanager
    def torchrun(self, config, *flags):
        """An agent and its ranks; none outlives the block."""
        launcher = os.environ.get("DEWEATHER_TORCHRUN", "")
        if not os.access(launcher, os.X_OK):
            self.skipTest("DEWEATHER_TORCHRUN names no torchrun: it comes with PyTorch for Python")
        process = subprocess.Popen(
            [launcher, "--nproc-per-node=2", f"--master-port={free_port()}", *flags, "--no-python",
             program("deweather-train"), "run", "--config", str(config), "--progress", "lines"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()

    def check_torchrun(self, process, status):
        out, _ = process.communicate(timeout=300)
        self.assertEqual(process.returncode, status, out)
        return out

    def wait_for_step(self, out, step):
        def reached():
            with contextlib.suppress(OSError), open(self.folder / out / "log.jsonl", encoding="utf-8") as log:
                return re.search(rf'"step": ?{step}\b', log.read())
            return False
        wait_until(reached, 120)

    def test_torchrun_restarts_after_a_killed_rank(self):
        with self.torchrun(self.config("whole", steps=200)) as process:
            self.check_torchrun(process, 0)
        with self.torchrun(self.config("killed", steps=200), "--max-restarts=1") as process:
            self.wait_for_step("killed", 12)
            kill_rank(1, process)
            self.assertIn("goes on at step", self.check_torchrun(process, 0))
        self.check_same_weights("whole", "killed")

    def test_torchrun_restarts_on_two_machines(self):
        """Each has an agent, which counts restarts by itself. First the one rank is lost, then the other."""
        with self.torchrun(self.config("whole", steps=200)) as process:
            self.check_torchrun(process, 0)
        config = self.config("killed", steps=200)
        meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--max-restarts=3",
                   f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
        with self.torchrun(config, *meeting) as one, self.torchrun(config, *meeting) as other:
            for step, rank in ((12, 1), (32, 0)):
                self.wait_for_step("killed", step)
                kill_rank(rank, one, other)
            outs = [self.check_torchrun(process, 0) for process in (one, other)]
        self.assertIn("goes on at step", "".join(outs))
        self.check_same_weights("whole", "killed")

    def test_torchrun_does_not_go_on_with_another_run(self):
        config = self.config("old", steps=5)
        self.run_program("deweather-train", "run", "--config", config)
        before = self.weights("old")
        for count in (1, 2):
            with self.torchrun(self.config("old", steps=10), "--max-restarts=1", f"--nproc-per-node={count}") as process:
                out = self.check_torchrun(process, 1)
            self.assertEqual(out.count("ALREADY_EXISTS"), 2, out)  # of rank 0, each time
        self.assertEqual(sorted(self.weights("old")), sorted(before))
        for name, values in self.weights("old").items():
            np.testing.assert_array_equal(values, before[name])

    def test_torchrun_restarts_one_rank_alone(self):
        with self.torchrun(self.config("alone", steps=FOREVER), "--max-restarts=1", "--nproc-per-node=1") as process:
            self.wait_for_step("alone", 12)
            kill_rank(0, process)
            for line in process.stdout:
                if "goes on at step" in line:
                    break
            else:
                self.fail("it ended")


def kill_rank(rank, *launchers):
    """SIGKILL for one of torchrun's processes."""
    parents = {launcher.pid for launcher in launchers}

    def found():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{pid}/environ", "rb") as environ:
                    if parent in parents and f"RANK={rank}".encode() in environ.read().split(b"\0"):
                        os.kill(int(pid), signal.SIGKILL)
                        return True
        return False
    wait_until(found, 10)


if __name__ == "__main__":
    main()
