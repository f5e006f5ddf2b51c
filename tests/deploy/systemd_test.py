"""deploy/systemd: that systemd takes the unit, that its times and paths fit the server's, and what the server tells it."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import Server, encode, main, noise, program  # noqa: E402
from prerequisites import DEPLOY, ROOT  # noqa: E402

FOLDER = DEPLOY / "systemd"
UNIT = FOLDER / "deweather.service"
ANALYZE = shutil.which("systemd-analyze")


def settings(path):
    """Every setting of a unit, the last one of a name."""
    return dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))


def seconds(block, field):
    """What the reference configuration, which holds the defaults, says of a duration."""
    text = (DEPLOY / "server.textproto").read_text()
    return int(re.search(r"^%s {$.*?^  %s { seconds: (\d+) }" % (block, field), text, re.MULTILINE | re.DOTALL)[1])


class UnitTest(unittest.TestCase):
    unit = settings(UNIT)

    def verify(self, *drop_ins):
        """With programs that are here in place of the installed ones."""
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / UNIT.name
            copy.write_text(UNIT.read_text().replace("/usr/bin/deweather-server", "/bin/true"))
            for drop_in in drop_ins:
                place = pathlib.Path(folder) / f"{UNIT.name}.d" / drop_in.name
                place.parent.mkdir()
                place.write_text(drop_in.read_text())
            return subprocess.run([ANALYZE, "verify", "--man=no", copy], capture_output=True, text=True, check=False,
                                  env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"})

    @unittest.skipUnless(ANALYZE, "no systemd-analyze here")
    def test_systemd_takes_it(self):
        done = self.verify()
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    @unittest.skipUnless(ANALYZE, "no systemd-analyze here")
    def test_systemd_takes_it_with_a_gpu(self):
        done = self.verify(FOLDER / "gpu.conf")
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    @unittest.skipUnless(ANALYZE, "no systemd-analyze here")
    def test_it_may_do_little(self):
        done = subprocess.run([ANALYZE, "security", "--offline=true", "--no-pager", UNIT],
                              capture_output=True, text=True, check=True)
        exposure = re.search(r"exposure level for deweather.service: ([\d.]+)", done.stdout)
        self.assertLessEqual(float(exposure[1]), 1.4, done.stdout)

    def test_is_given_the_time_that_it_takes_to_stop(self):
        longest = seconds("drain", "delay") + seconds("drain", "timeout") + seconds("training", "stop_grace")
        self.assertGreater(int(self.unit["TimeoutStopSec"]), longest)
        self.assertEqual(self.unit["KillMode"], "mixed")

    def test_names_what_is_installed(self):
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "install.cmake"
            script.write_text(f'set(source "{ROOT}")\ninclude("{ROOT}/cmake/install_service.cmake")\n')
            subprocess.run(["cmake", "-D", "CMAKE_INSTALL_PREFIX=/usr", "-P", script], check=True,
                           capture_output=True, env={**os.environ, "DESTDIR": folder})
            root = pathlib.Path(folder)
            self.assertEqual((root / "usr/lib/systemd/system/deweather.service").read_text(), UNIT.read_text())
            server, _, config = self.unit["ExecStart"].split()
            self.assertEqual(server, "/usr/bin/deweather-server")
            text = (root / config[1:]).read_text()
            self.assertIn(f'data_dir: "/var/lib/{self.unit["StateDirectory"]}"', text)
            self.assertEqual(self.unit["WorkingDirectory"], f"/var/lib/{self.unit['StateDirectory']}")

    def test_its_user_is_made(self):
        self.assertEqual((FOLDER / "sysusers.conf").read_text().split()[:2], ["u", self.unit["User"]])

    def test_a_wrong_configuration_is_not_tried_again(self):
        status = subprocess.run([program("deweather-server"), "--config", "/no/such/file"], capture_output=True,
                                check=False).returncode
        self.assertEqual(str(status), self.unit["RestartPreventExitStatus"])


class NotifyTest(unittest.TestCase):
    """Type=notify."""

    def served_with(self, name):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(name.replace("@", "\0"))
            systemd.settimeout(60)
            with Server("--model", "identity", env={"NOTIFY_SOCKET": name}) as server:
                self.assertEqual(systemd.recv(100), b"READY=1")
                with server.client() as caller:
                    self.assertEqual(caller.health(), "SERVING")
                self.assertEqual(server.stop(), 0)
                self.assertEqual(systemd.recv(100), b"STOPPING=1")
            systemd.settimeout(0)
            self.assertRaises(BlockingIOError, systemd.recv, 100)

    def test_says_when_it_serves_and_when_it_stops(self):
        with tempfile.TemporaryDirectory() as folder:
            self.served_with(f"{folder}/notify")

    def test_says_that_it_lives_until_a_device_hangs(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(f"{folder}/notify")
            systemd.settimeout(60)
            env = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "600000"}
            pixels = noise(60, 50)
            pixels[0, 0] = (255, 0, 6)  # tests/reliability/faulty_server.cc
            with Server("--model", "identity", config="batching { max_batch_time { seconds: 1 } }", env=env,
                        command=[program("../tests/faulty_server")]) as server, server.client() as caller:
                while systemd.recv(100) != b"READY=1":
                    pass
                for _ in range(5):
                    self.assertEqual(systemd.recv(100), b"WATCHDOG=1")
                call = caller.start_restore(encode(pixels))  # held: one that nobody holds is cancelled
                self.assertEqual(server.process.wait(30), 1)
                self.assertEqual(call.exception(10).code().name, "UNAVAILABLE")
            systemd.settimeout(0)
            told = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    told.append(systemd.recv(100))
            self.assertEqual(told.index(b"STOPPING=1"), len(told) - 1, told)

    def test_is_watched_by_systemd(self):
        self.assertGreaterEqual(int(settings(UNIT)["WatchdogSec"]), 10)

    def test_knows_sockets_without_a_file(self):
        self.served_with(f"@deweather-test-{os.getpid()}")

    def test_goes_on_where_nobody_listens(self):
        with Server("--model", "identity", env={"NOTIFY_SOCKET": "/no/such/socket"}) as server:
            with server.client() as caller:
                self.assertEqual(caller.health(), "SERVING")
            self.assertIn("NOTIFY_SOCKET is '/no/such/socket'", server.errors())


if __name__ == "__main__":
    main()
