"""What keeps a server from starting: the exit status, and a last line on stderr that says why."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import unittest

from harness import ROOT, Server, TestCase, main, program, wait_until

SHIPPED = ROOT / "model/weights/deweather-small.safetensors"
FREE = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
IDENTITY = ("--model", "identity", *FREE)
# Root that must obey permissions, and may not take ports below 1024.
BOUND = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-net_bind_service")
STRANGER = 65532


def works(*command):
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def mounted(options, path, *inside):
    """A command that runs `inside` with something mounted on `path`, for itself alone."""
    return ("unshare", "-rm", "sh", "-c", f'mount {options} "$0" && exec "$@"', str(path), *inside)


def read_only(path, *inside):
    return mounted(f'--bind "{path}" "{path}" && mount -o remount,bind,ro', path, *inside)


def memory_group(limit):
    """A control group below the root with a limit of memory; None: none can be made."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = pathlib.Path(root, f"deweather-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            with open(group / name, "r+", encoding="ascii") as file:  # made by the kernel, or this is no control group
                file.write(str(limit))
            return group
        except OSError:
            group.rmdir()
    return None


class StartupTest(TestCase):
    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        self.data.mkdir()

    def fails(self, status, *args, words=(), before=(), server=None, env=None):
        """Ends soon with that status, says nothing on stdout and why in the last line; that line."""
        begin = time.monotonic()
        done = subprocess.run([*before, str(server or program("deweather-server")), *map(str, args)], text=True,
                              capture_output=True, timeout=60, check=False, env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertLess(time.monotonic() - begin, 20)  # of a machine that is busy
        self.assertEqual(done.stdout, "")
        lines = done.stderr.split("\n")
        self.assertEqual(lines.pop(), "", "the last line is not ended")
        self.assertRegex(lines[-1], "^deweather-server: [^\x1b]+$")
        for word in words:
            self.assertIn(word, lines[-1])
        return lines[-1]

    def test_models(self):
        torn = self.folder / "torn.safetensors"
        torn.write_bytes(SHIPPED.read_bytes()[:100000])
        for model, words in [("./none.safetensors", ["'./none.safetensors'", "No such file"]),
                             ("nobody", ["no model 'nobody' in ", "/model/weights"]),
                             (torn, [str(torn), "the data is"]),
                             (f"{self.folder}/", ["it is a folder"])]:
            with self.subTest(model=model):
                self.fails(1, "--model", model, *FREE, words=words)

    def test_a_stored_version_that_is_torn(self):
        self.run_program("deweather-train", "import", ROOT / "tests/model/fixtures/fme.safetensors", self.data,
                         "--name", "tiny")
        weights, = self.data.glob("models/tiny/*/model.safetensors")
        weights.write_bytes(weights.read_bytes()[:-1])
        self.fails(1, "--model", "tiny", "--data-dir", self.data, *FREE, words=["tiny"])

    @unittest.skipUnless(os.geteuid() == 0 and works(*BOUND, "true"), "needs root and setpriv")
    def test_permissions(self):
        locked = self.folder / "locked"
        shutil.copy(SHIPPED, f"{locked}.safetensors")
        locked.with_suffix(".safetensors").chmod(0)
        self.fails(1, "--model", f"{locked}.safetensors", *FREE, before=BOUND,
                   words=[f"{locked}.safetensors", "Permission denied"])
        locked.with_suffix(".textproto").write_text("")
        locked.with_suffix(".textproto").chmod(0)
        self.fails(2, "--config", f"{locked}.textproto", before=BOUND,
                   words=[f"{locked}.textproto", "Permission denied"])
        self.fails(1, "--model", "identity", "--listen", "127.0.0.1:80", before=BOUND,
                   words=["127.0.0.1:80", "Permission denied"])
        os.chown(self.data, STRANGER, STRANGER)
        self.fails(1, "--data-dir", self.data, *IDENTITY, before=BOUND,
                   words=[f"uid 0 cannot write to '{self.data}'", f"chown -R 0 '{self.data}'", "--no-jobs"])
        self.assertEqual(list(self.data.iterdir()), [])
        self.data.chmod(0o700)
        self.fails(1, "--data-dir", self.data, "--no-jobs", *IDENTITY, before=BOUND,
                   words=[f"uid 0 cannot read '{self.data}'"])

    @unittest.skipUnless(os.geteuid() == 0 and works(*BOUND, "true"), "needs root and setpriv")
    def test_folders_of_an_earlier_user(self):
        for name in ("models", "jobs", "datasets"):
            folder = self.data / name
            folder.mkdir()
            os.chown(folder, STRANGER, STRANGER)
            self.fails(1, "--data-dir", self.data, *IDENTITY, before=BOUND, words=[f"'{folder}'", "chown"])
            os.chown(folder, 0, 0)

    def test_data_folders(self):
        self.fails(2, "--data-dir", self.folder / "none", *IDENTITY,
                   words=[f"--data-dir is '{self.folder}/none'", "no such folder"])
        if not works(*read_only(self.data, "true")):
            self.skipTest("nothing can be mounted here")
        self.fails(1, "--data-dir", self.data, *IDENTITY, before=read_only(self.data),
                   words=[str(self.data), "Read-only file system", "mount it writable, or start with --no-jobs"])

    def test_addresses(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for args in [("--listen", address, "--metrics-listen", ""),
                         ("--listen", "127.0.0.1:0", "--metrics-listen", address)]:
                self.fails(1, "--model", "identity", *args, words=[address, "Address already in use"])
        beyond = ("--model", "identity", "--allow-plaintext-beyond-loopback", "--listen")
        self.fails(1, *beyond, "192.0.2.1:0", words=["192.0.2.1:0", "Cannot assign requested address"])
        self.fails(1, *beyond, "no-such-host.invalid:0", words=["no-such-host.invalid"])

    def test_devices(self):
        hidden = {"CUDA_VISIBLE_DEVICES": ""}
        for model in ("identity", SHIPPED):
            self.fails(1, "--model", model, "--device", "cuda", *FREE, env=hidden, words=["'cuda' is not there"])

    def test_configurations(self):
        path = self.folder / "server.textproto"
        path.write_text("model: 'identity'\ncolour: 3\n")
        self.fails(2, "--config", path, words=[f"{path}:2: ", "no field named \"colour\""])
        self.fails(2, "--config", self.folder / "none.textproto", words=["none.textproto", "No such file"])
        self.fails(2, "--frob", words=["--frob"])
        self.fails(2, "surplus", words=["surplus"])

    def test_a_program_without_its_trainer(self):
        alone = self.folder / "deweather-server"
        shutil.copy(program("deweather-server"), alone)
        missing = self.folder / "deweather-train"
        self.fails(1, "--data-dir", self.data, *IDENTITY, server=alone, words=[f"'{missing}'", "--no-jobs"])
        for args in ([], ["--data-dir", str(self.data), "--no-jobs"]):
            with Server("--model", "identity", *args, command=[str(alone)]) as server:
                self.assertEqual(server.stop(), 0)

    def test_a_control_group_that_is_too_small(self):
        group = memory_group(200 << 20)
        if group is None:
            self.skipTest("no control group can be made here")
        self.addCleanup(lambda: wait_until(lambda: works("rmdir", group)))
        inside = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group))
        self.fails(1, *FREE, before=inside, words=["control group allows 200 MiB of memory", "needs 336 MiB"])
        with Server("--model", "identity", command=[*inside, program("deweather-server")]) as server:
            self.assertEqual(server.metrics()["deweather_memory_limit_bytes"], 200 << 20)
            for words in ("3.2 GiB of memory may be needed", "admission.max_bytes 2.0 GiB"):
                self.assertIn(words, server.errors())

    def test_memory_that_is_not_there(self):
        def limited(mebibytes):
            return "prlimit", f"--as={mebibytes << 20}"
        if not works(*limited(4096), "true"):
            self.skipTest("needs prlimit")
        for mebibytes in (500, 650, 800, 950, 1300, 1700):  # libraries map some 450
            done = subprocess.run([*limited(mebibytes), program("deweather-server"), "--model", str(SHIPPED), *FREE],
                                  text=True, capture_output=True, timeout=60, check=False)
            self.assertGreater(done.returncode, 0, done.stderr)  # no signal
            self.assertEqual(done.stdout, "")
            self.assertRegex(done.stderr.splitlines()[-1], "^(deweather-server: .*ulimit -v|.*error while loading)")

    def test_a_line_of_the_log_is_one_write_without_colours(self):
        with Server("--model", "identity", "--data-dir", str(self.data)) as server:
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.process.poll() is not None)
            self.assertNotIn("\x1b", server.errors())
            self.assertRegex(server.errors(), r"\n$")


if __name__ == "__main__":
    main()
