"""deploy/backup: with what it copies beside a server that works, a new server goes on; what is torn is no archive."""

import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import BIN, ROOT, Server, TestCase, encode, main, smooth, wait_until  # noqa: E402
from jobs_test import CONFIG, SERVER, picture, runs  # noqa: E402

BACKUP = ROOT / "deploy/backup"
SETPRIV = shutil.which("setpriv")


class BackupTest(TestCase):
    def setUp(self):
        super().setUp()
        self.data, self.copy = self.folder / "data", self.folder / "copy"
        self.data.mkdir()
        self.copy.mkdir()
        self.archive = self.folder / "archive.tar"

    def backup(self, *args, status=0, prefix=(), **options):
        done = subprocess.run([*prefix, sys.executable, "-B", str(BACKUP), *map(str, args)], capture_output=True,
                              timeout=60, check=False, **options)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done

    def write(self, name, content):
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
class ServerTest(BackupTest):
    def setUp(self):
        super().setUp()
        for i in range(4):
            picture(self.folder / f"scenes/{i}.png", i)
            picture(self.folder / f"rainy/input/{i}.png", i, shift=30)
            picture(self.folder / f"rainy/gt/{i}.png", i)

    def start(self, data):
        return Server("--model", "identity", "--data-dir", str(data), "--precision", "f32",
                      config=SERVER % {"training": "", "more": "", "drain_s": 30})

    def client(self, server, *args):
        return self.run_program("deweather", *args, "--server", server.address).stdout

    def json(self, server, *args):
        return json.loads(self.client(server, *args, "--json"))

    def submit(self, server, steps):
        path = self.folder / "job.textproto"
        path.write_text(CONFIG % {"steps": steps, "more": ""})
        return self.json(server, "jobs", "submit", "--config", path)["id"]

    def wait_for_step(self, server, job, step):
        wait_until(lambda: (self.json(server, "jobs", "get", job).get("progress") or {}).get("step", 0) >= step, 60)

    def test_a_server_goes_on_with_the_copy(self):
        with self.start(self.data) as old:
            for name in ("scenes", "rainy"):
                self.json(old, "datasets", "upload", name, self.folder / name)
            done = self.submit(old, 40)
            self.client(old, "jobs", "watch", done)
            self.json(old, "models", "promote", "--job", done)
            running = self.submit(old, 100000)
            self.addCleanup(self.end_programs, running)
            self.wait_for_step(old, running, 30)
            self.backup(self.data, self.archive)
            self.backup("--restore", self.archive, self.copy)
            at = self.newest_checkpoint(running)
            with self.start(self.copy) as new:
                self.look_at_what_was_done(new, done)
                self.look_at_what_runs(new, running, at)
            # That server took no program of the other one for its own.
            job = self.json(old, "jobs", "get", running)
            self.assertEqual((job["state"], job["attempts"]), ("RUNNING", 1))

    def end_programs(self, job):
        """They outlive servers that are killed."""
        for program in runs(job):
            os.kill(program, signal.SIGKILL)

    def newest_checkpoint(self, job):
        """Its step."""
        names = os.listdir(self.copy / "jobs" / job / "run/checkpoints")
        return max(int(re.fullmatch(r"step-(\d+)\.safetensors", name)[1]) for name in names)

    def look_at_what_was_done(self, server, done):
        job = self.json(server, "jobs", "get", done)
        self.assertEqual(job["state"], "SUCCEEDED")
        with server.client() as caller:
            self.assertEqual(caller.restore(encode(smooth(64, 64)), model="tiny").model.version, job["model_version"])
        names = [artifact["name"] for artifact in self.json(server, "jobs", "checkpoints", done)["artifacts"]]
        for wanted in ("run/tiny-best.safetensors", "run/curve.png", "run/log.jsonl", "log.txt"):
            self.assertIn(wanted, names)
        self.assertEqual([s["name"] for s in self.json(server, "datasets", "list")["datasets"]], ["rainy", "scenes"])

    def look_at_what_runs(self, server, job, at):
        wait_until(lambda: f"goes on at step {at} " in self.client(server, "jobs", "logs", job), 60)
        self.wait_for_step(server, job, at + 5)
        self.assertEqual(self.json(server, "jobs", "get", job)["attempts"], 2)


class ArchiveTest(BackupTest):
    def setUp(self):
        super().setUp()
        self.write("jobs/abc/run/checkpoints/step-000000010.safetensors", random.Random(1).randbytes(30000))
        self.write("jobs/abc/run/.lock", b"")
        self.write("jobs/abc/run/best.safetensors.partial.0123456789abcdef", b"half")
        self.write("jobs/abc/log.txt", b"step 10/40\n")
        self.write("jobs/unknown/log.txt", b"of a job that came later\n")
        self.write("models/tiny/0123456789ab/model.safetensors", b"weights" * 1000)
        self.write("models/tiny/0123456789ab/manifest.json", b"{}")
        self.write("models/tiny/.tmp-1/model.safetensors", b"half")
        self.write("models/tiny/live.json", b'{"version": "0123456789ab", "previous": ""}')
        self.write("datasets/rain/0.png", b"picture")
        self.write("datasets/.tmp-1/0.png", b"half")
        os.link(self.data / "datasets/rain/0.png", self.data / "datasets/rain/1.png")
        # As a server that works has it: what is committed is in the log beside the file.
        self.database = sqlite3.connect(self.data / "jobs/jobs.db")
        self.addCleanup(self.database.close)
        self.database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE jobs(id); CREATE TABLE processes(pid);"
                                    "INSERT INTO jobs VALUES('abc'); INSERT INTO processes VALUES(1)")

    def files(self, folder):
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def refused(self, archive):
        """Why it is, in one line; nothing is restored."""
        line = self.backup("--restore", archive, self.copy, status=1).stderr.decode()
        self.assertEqual(os.listdir(self.copy), [], line)
        self.assertEqual(self.backup("--check", archive, status=1).stderr.decode(), line)
        self.assertRegex(line, r"\Abackup: [^\n]+\n\Z")
        return line

    def test_what_is_whole_is_copied_and_nothing_else(self):
        self.backup(self.data, self.archive)
        self.backup("--check", self.archive)
        self.backup("--restore", self.archive, self.copy)
        expected = {"jobs/jobs.db", "jobs/abc/log.txt", "jobs/abc/run/checkpoints/step-000000010.safetensors",
                    "models/tiny/live.json", "models/tiny/0123456789ab/model.safetensors",
                    "models/tiny/0123456789ab/manifest.json", "datasets/rain/0.png", "datasets/rain/1.png"}
        self.assertEqual(self.files(self.copy), expected)
        for name in expected - {"jobs/jobs.db"}:
            self.assertEqual((self.copy / name).read_bytes(), (self.data / name).read_bytes())
            seconds = (self.copy / name).stat().st_mtime - (self.data / name).stat().st_mtime
            self.assertLess(abs(seconds), 60)
        restored = sqlite3.connect(self.copy / "jobs/jobs.db")
        self.addCleanup(restored.close)
        self.assertEqual(restored.execute("SELECT id FROM jobs").fetchall(), [("abc",)])
        self.assertEqual(restored.execute("SELECT * FROM processes").fetchall(), [])

    def test_through_a_pipe(self):
        archive = self.backup(self.data, "-").stdout
        self.backup("--restore", "-", self.copy, input=archive)
        self.assertEqual((self.copy / "datasets/rain/0.png").read_bytes(), b"picture")

    def test_an_archive_cut_anywhere_is_refused(self):
        self.backup(self.data, self.archive)
        whole = self.archive.read_bytes()
        end = len(whole.rstrip(b"\0"))
        cuts = random.Random(1).sample(range(end), 10) + [end // 512 * 512]
        for cut in cuts:
            self.archive.write_bytes(whole[:cut])
            self.refused(self.archive)

    def test_a_changed_byte_is_named(self):
        self.backup(self.data, self.archive)
        whole = bytearray(self.archive.read_bytes())
        whole[whole.index(b"weightsweights")] ^= 1
        self.archive.write_bytes(whole)
        self.assertIn("'models/tiny/0123456789ab/model.safetensors'", self.refused(self.archive))

    def test_nothing_leads_out_of_the_folder(self):
        for name in ("../outside", "jobs/../../outside", "/etc/passwd", "other/file"):
            strange = self.folder / "strange.tar"
            subprocess.run(["tar", "-cPf", strange, "--transform", f"s|.*|{name}|", BACKUP], check=True)
            self.assertIn("is no file of a data folder", self.refused(strange))

    def test_what_is_there_is_not_replaced(self):
        self.backup(self.data, self.archive)
        (self.copy / "jobs").mkdir()
        line = self.backup("--restore", self.archive, self.copy, status=1).stderr.decode()
        self.assertIn("has jobs already", line)

    def test_a_failed_backup_leaves_the_old_archive(self):
        self.archive.write_bytes(b"old")
        self.write("models/tiny/live.json", b'{"version": "ba9876543210"}')
        line = self.backup(self.data, self.archive, status=1).stderr.decode()
        self.assertIn("names a version that is not there", line)
        self.assertEqual(self.archive.read_bytes(), b"old")
        self.assertEqual(list(self.folder.glob("archive.tar.*")), [])

    def test_a_corrupt_store_is_no_backup(self):
        self.database.close()
        self.write("jobs/jobs.db", b"no database" * 1000)
        self.backup(self.data, self.archive, status=1)
        self.assertFalse(self.archive.exists())

    def test_no_data_folder_is_no_backup(self):
        """Such as a volume that a mistyped name has made."""
        line = self.backup(self.copy, "-", status=1).stderr.decode()
        self.assertIn("it has none of jobs, models, datasets", line)

    @unittest.skipIf(os.geteuid() == 0 and not SETPRIV, "no setpriv here")
    def test_what_cannot_be_read_is_no_backup(self):
        # Root without the leave to read everything, which any other user lacks anyway.
        prefix = [SETPRIV, "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        for folder in ("jobs", "jobs/abc/run", "models", "models/tiny", "datasets", "datasets/rain"):
            (self.data / folder).chmod(0)
            line = self.backup(self.data, self.archive, status=1, prefix=prefix).stderr.decode()
            (self.data / folder).chmod(0o755)
            self.assertRegex(line, rf"\Abackup: '{self.data}/{folder}\S*': Permission denied\n\Z")
            self.assertFalse(self.archive.exists())

    def test_links_are_copied_or_named(self):
        (self.data / "datasets/rain/2.png").symlink_to("0.png")
        (self.data / "datasets/rain/round").symlink_to(".")
        (self.data / "datasets/rain/lost.png").symlink_to("nowhere")
        said = self.backup(self.data, self.archive).stderr.decode().splitlines()
        for name in ("lost.png", "round"):
            self.assertIn(f"backup: '{self.data}/datasets/rain/{name}' is not in the archive", said)
        self.backup("--restore", self.archive, self.copy)
        self.assertEqual({path.name for path in (self.copy / "datasets/rain").iterdir()}, {"0.png", "1.png", "2.png"})

    def test_strangers_cannot_read_it(self):
        self.backup(self.data, self.archive, umask=0)
        self.assertEqual(stat.filemode(self.archive.stat().st_mode), "-rw-------")
        self.backup("--restore", self.archive, self.copy, umask=0)
        for path in [self.copy / "jobs", self.copy / "datasets/rain", self.copy / "jobs/jobs.db",
                     self.copy / "models/tiny/live.json"]:
            self.assertRegex(stat.filemode(path.stat().st_mode), r"\A.rw.r..---\Z", path)

    def test_leaves_nothing_behind_when_it_is_ended(self):
        os.mkfifo(self.folder / "fifo")
        (self.data / "models/zzz.safetensors").symlink_to(self.folder / "fifo")  # where it waits
        before = set(self.folder.iterdir())
        process = subprocess.Popen([sys.executable, "-B", BACKUP, self.data, self.archive])
        self.addCleanup(process.kill)
        wait_until(lambda: any(path.stat().st_size for path in set(self.folder.iterdir()) - before), 60)
        process.terminate()
        self.assertEqual(process.wait(60), 128 + signal.SIGTERM)
        self.assertEqual(set(self.folder.iterdir()), before)

    def test_an_error_names_its_file(self):
        for content in (b"", b"no tar" * 1000):
            self.archive.write_bytes(content)
            self.assertIn(f"backup: '{self.archive}': ", self.refused(self.archive))
        with tarfile.open(self.archive, "w") as tar:
            sums = tarfile.TarInfo("SUMS")
            sums.size = 5
            tar.addfile(sums, io.BytesIO(b"a b c"))
        self.assertIn("SUMS is no list of checksums", self.refused(self.archive))
        line = self.backup("--check", "/no/such/file", status=1).stderr.decode()
        self.assertEqual(line, "backup: '/no/such/file': No such file or directory\n")


if __name__ == "__main__":
    main()
