"""A training job from submit to live, against the real programs, and what survives a killed server."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import unittest

from harness import BIN, Server, TestCase, encode, main, noise, np, program, smooth, wait_until

# A network of a few tokens: a step takes milliseconds.
CONFIG = """
name: "tiny"
model { kind: KIND_FME embed_dim: 16 heads: 2 head_dim: 8 channels: 4 experts: 4 kept: 2 residual: true
  tile_px: 32 overlap_px: 8 }
data { clean { dir: "scenes" weather: "rain" } pairs { dir: "rainy" } crop_px: 32 }
batch: 2
steps: %(steps)d
optimizer { learning_rate: 1e-3 warmup_steps: 5 }
seed: 7
threads: 1
log_every_steps: 5
checkpoint_every_steps: 10
evaluate { pairs_dir: "rainy" every_steps: 20 }
%(more)s
"""
SERVER = """
drain { delay {} timeout { seconds: %(drain_s)d } }
training { first_retry {} stop_grace { seconds: 20 } %(training)s }
%(more)s
"""


def picture(path, seed, shift=0):
    from PIL import Image
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(noise(8, 8, seed=seed)).resize((64, 56), Image.BICUBIC)
    Image.fromarray(np.clip(np.asarray(small, np.int16) + shift, 0, 255).astype(np.uint8)).save(path)


def runs(job_id):
    """Processes that train for this job."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if f"DEWEATHER_JOB={job_id}".encode() in environment:
            found.append(int(entry.name))
    return found


def is_pending(process, which):
    """Whether a stopped process has been sent this signal."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16) >> (which - 1) & 1


@unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
class JobsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        self.data.mkdir()
        for i in range(4):
            picture(self.folder / f"scenes/{i}.png", i)
            picture(self.folder / f"rainy/input/{i}.png", i, shift=30)
            picture(self.folder / f"rainy/gt/{i}.png", i)

    def start(self, training="", more="", drain_s=30, **options):
        return Server("--model", "identity", "--data-dir", str(self.data), "--precision", "f32",
                      config=SERVER % {"training": training, "more": more, "drain_s": drain_s}, **options)

    def start_with_sets(self, **options):
        """The sets are the server's own."""
        sets = "".join(f'registered {{ name: "{name}" dir: "{self.folder / name}" }} '
                       for name in ("scenes", "rainy"))
        return self.start(more=f"datasets {{ {sets} }}", **options)

    def config(self, steps=40, more=""):
        path = self.folder / "job.textproto"
        path.write_text(CONFIG % {"steps": steps, "more": more})
        return path

    def client(self, server, *args, status=0, **options):
        return self.run_program("deweather", *args, "--server", server.address, status=status, **options)

    def json(self, server, *args, status=0):
        return json.loads(self.client(server, *args, "--json", status=status).stdout)

    def refused(self, server, *args):
        error = self.json(server, *args, status=1)["error"]
        return error["code"], error["reason"]

    def submit(self, server, *args, **config):
        return self.json(server, "jobs", "submit", "--config", self.config(**config), *args)["id"]

    def made_by(self, server, job):
        self.client(server, "jobs", "watch", job)
        return self.json(server, "jobs", "get", job)["model_version"]

    def versions(self, server):
        return {v["version"] for v in self.json(server, "models", "get", "tiny")["versions"]}

    def state(self, server, job):
        return self.json(server, "jobs", "get", job)["state"]

    def wait_for(self, server, job, state):
        wait_until(lambda: self.state(server, job) == state, 60)

    def test_from_upload_to_live_and_back(self):
        with self.start() as server:
            # Upload.
            self.json(server, "datasets", "upload", "scenes", self.folder / "scenes")
            uploaded = self.json(server, "datasets", "upload", "rainy", self.folder / "rainy")
            self.assertEqual((uploaded["kind"], uploaded["pictures"]), ("PAIRS", 4))
            self.assertEqual(self.refused(server, "datasets", "upload", "rainy", self.folder / "rainy"),
                             ("ALREADY_EXISTS", "DATASET_EXISTS"))
            self.assertEqual([s["name"] for s in self.json(server, "datasets", "list")["datasets"]],
                             ["rainy", "scenes"])
            # Submit, twice with one request id, and watch to the end.
            job = self.submit(server, "--label", "camera=north", "--request-id", "once")
            self.assertEqual(self.submit(server, "--label", "camera=north", "--request-id", "once"), job)
            watched = self.client(server, "jobs", "watch", job, "--json")
            events = [json.loads(line) for line in watched.stdout.splitlines()]
            self.assertEqual([e["number"] for e in events], list(range(1, len(events) + 1)))
            states = [e["state"] for e in events if "state" in e]
            self.assertEqual(states, ["QUEUED", "RUNNING", "SUCCEEDED"])
            done = self.json(server, "jobs", "get", job)
            self.assertEqual(done["progress"]["step"], 40)
            self.assertIn("rainy/psnr_rgb", done["evaluation"]["figures"])
            self.assertIn("step 40/40", self.client(server, "jobs", "logs", job).stdout)
            # Checkpoints and what else is there, downloaded.
            names = [a["name"] for a in self.json(server, "jobs", "checkpoints", job)["artifacts"]]
            self.assertTrue(names[0].endswith("step-000000040.safetensors"), names)
            for wanted in ("run/tiny-best.safetensors", "run/curve.png", "run/log.jsonl", "log.txt"):
                self.assertIn(wanted, names)
            copy = self.folder / "copy.safetensors"
            self.json(server, "jobs", "download", job, "run/tiny-best.safetensors", "-o", copy)
            version = hashlib.sha256(copy.read_bytes()).hexdigest()[:12]
            self.assertEqual(done["model_version"], version)
            # Promote; Restore uses it.
            photo = encode(smooth(64, 64))
            self.json(server, "models", "promote", "--job", job)
            with server.client() as caller:
                self.assertEqual(caller.restore(photo, model="tiny").model.version, version)
            # A second job goes on from the first one's model, and replaces it.
            other = self.submit(server, steps=10, more='init_from: "tiny"')
            newer = self.made_by(server, other)
            self.assertNotEqual(newer, version)
            self.json(server, "models", "promote", "tiny", newer)
            with server.client() as caller:
                self.assertEqual(caller.restore(photo, model="tiny").model.version, newer)
            self.assertEqual(self.json(server, "models", "rollback", "tiny")["live_version"], version)
            # What is live, or would be after a rollback, stays; a version that nothing needs goes.
            for used in (version, newer):
                self.assertEqual(self.refused(server, "models", "delete", "tiny", used),
                                 ("FAILED_PRECONDITION", "VERSION_IN_USE"))
            spare = self.made_by(server, self.submit(server, steps=2))
            self.assertEqual(self.versions(server), {version, newer, spare})
            self.json(server, "models", "delete", "tiny", spare)
            self.assertEqual(self.versions(server), {version, newer})
            older = self.made_by(server, self.submit(server, steps=3))
            self.assertEqual(server.stop(), 0)
        with self.start(training="keep_versions: 1") as server:
            with server.client() as caller:
                self.assertEqual(caller.restore(photo, model="tiny").model.version, version)
            self.assertEqual([j["id"] for j in self.json(server, "jobs", "list")["jobs"]][-2:], [other, job])
            self.assertEqual([j["id"] for j in self.json(server, "jobs", "list", "--label",
                                                         "camera=north")["jobs"]], [job])
            self.json(server, "jobs", "delete", job)
            self.assertEqual(self.refused(server, "jobs", "get", job), ("NOT_FOUND", "UNKNOWN_JOB"))
            self.assertFalse((self.data / "jobs" / job).exists())
            # Of what jobs made the newest stays, and what is in use.
            self.assertIn(older, self.versions(server))
            newest = self.made_by(server, self.submit(server, steps=4))
            self.assertEqual(self.versions(server), {version, newer, newest})
            with server.client() as caller:  # what is live stays
                self.assertEqual(caller.restore(photo, model="tiny").model.version, version)

    def test_a_killed_server_goes_on_with_its_jobs(self):
        with self.start_with_sets() as server:
            job = self.submit(server, steps=100000)
            wait_until(lambda: (self.json(server, "jobs", "get", job).get("progress") or {}).get("step", 0) >= 10)
            first = runs(job)
            self.assertEqual(len(first), 1)
            server.process.kill()
            server.process.wait()
        self.assertEqual(runs(job), first, "it trains on without the server")
        with self.start_with_sets() as server:
            wait_until(lambda: runs(job) not in ([], first), 60)
            wait_until(lambda: self.state(server, job) == "RUNNING")
            self.assertEqual(len(runs(job)), 1)
            wait_until(lambda: "goes on at step" in self.client(server, "jobs", "logs", job).stdout)
            self.json(server, "jobs", "cancel", job, "--reason", "enough")
            self.wait_for(server, job, "CANCELLED")
            self.assertEqual(runs(job), [])
            self.assertEqual(self.refused(server, "jobs", "cancel", job),
                             ("FAILED_PRECONDITION", "JOB_STATE"))

    def test_an_evaluation_of_an_earlier_life_is_ended(self):
        with self.start_with_sets() as server:
            live, other = (self.made_by(server, self.submit(server, steps=steps)) for steps in (10, 20))
            self.json(server, "models", "promote", "tiny", live)
            with server.client() as caller:
                request = caller.message("deweather.v1.PromoteModelRequest")(
                    name="tiny", version=other, evaluation={"dataset": "rainy"})
                call = caller.method("deweather.v1.ModelService", "PromoteModel").future(request, timeout=60)
                wait_until(lambda: runs("evaluation"), 60)
                [child] = runs("evaluation")
                server.process.kill()
                server.process.wait()
                os.kill(child, signal.SIGSTOP)  # so that it does not end by itself
                call.cancel()
        with self.start_with_sets():
            wait_until(lambda: is_pending(child, signal.SIGTERM), 60)
            os.kill(child, signal.SIGCONT)
            wait_until(lambda: runs("evaluation") == [], 60)

    def test_a_job_goes_on_without_what_it_began_with(self):
        with self.start_with_sets() as server:
            first = self.submit(server, steps=10)
            self.wait_for(server, first, "SUCCEEDED")
            job = self.submit(server, steps=400, more=f'init_from: "job:{first}"')
            wait_until(lambda: (self.json(server, "jobs", "get", job).get("progress") or {}).get("step", 0) >= 10)
            self.json(server, "jobs", "delete", first)
            (self.folder / "rainy").rename(self.folder / "away")
            os.kill(runs(job)[0], signal.SIGKILL)
            wait_until(lambda: self.json(server, "jobs", "get", job)["failures"] >= 1)
            (self.folder / "away").rename(self.folder / "rainy")
            self.wait_for(server, job, "SUCCEEDED")

    def test_a_cancelled_job_is_resumed_by_another(self):
        with self.start_with_sets() as server:
            job = self.submit(server, steps=60, more="")
            wait_until(lambda: (self.json(server, "jobs", "get", job).get("progress") or {}).get("step", 0) >= 10)
            self.json(server, "jobs", "cancel", job)
            self.wait_for(server, job, "CANCELLED")
            step = self.json(server, "jobs", "checkpoints", job)["artifacts"][0]["step"]
            self.assertGreaterEqual(step, 10)
            other = self.json(server, "jobs", "resume", job)["id"]
            self.client(server, "jobs", "watch", other)
            done = self.json(server, "jobs", "get", other)
            self.assertEqual((done["state"], done["resumed_from"], done["progress"]["step"]),
                             ("SUCCEEDED", job, 60))
            self.assertIn(f"step-{step:09}", self.client(server, "jobs", "logs", other).stdout)
            self.assertEqual(self.refused(server, "jobs", "resume", other),
                             ("FAILED_PRECONDITION", "JOB_STATE"))

    def test_a_version_that_measures_worse_stays_out(self):
        with self.start_with_sets() as server:
            jobs = [self.submit(server, steps=steps) for steps in (1, 40)]
            found = []
            for job in jobs:
                self.client(server, "jobs", "watch", job)
                done = self.json(server, "jobs", "get", job)
                found.append((done["evaluation"]["figures"]["rainy/psnr_rgb"], done["model_version"]))
            (_, worse), (_, better) = sorted(found)
            self.json(server, "models", "promote", "tiny", better, "--evaluate", "rainy")
            measured = ("--evaluate", "rainy", "--max-regression")
            refused = self.json(server, "models", "promote", "tiny", worse, *measured, "0", status=1)["error"]
            self.assertEqual((refused["code"], refused["reason"]), ("FAILED_PRECONDITION", "REGRESSION"))
            self.assertIn(better, refused["message"])
            self.assertEqual(self.json(server, "models", "get", "tiny")["live_version"], better)
            self.assertEqual(self.refused(server, "models", "promote", "tiny", worse, "--evaluate", "nowhere"),
                             ("NOT_FOUND", "UNKNOWN_DATASET"))
            # On trial it takes its share of the requests, and none once the trial is over.
            self.json(server, "models", "promote", "tiny", worse, "--canary", "25")
            with server.client() as caller:
                versions = [caller.restore(encode(smooth(32, 32)), model="tiny").model.version for _ in range(40)]
            share = versions.count(worse)
            self.assertAlmostEqual(share, 10, delta=2)
            series = f'deweather_model_requests_total{{code="OK",model="tiny",version="{worse}"}}'
            self.assertEqual(server.metrics()[series], share)
            self.assertEqual(self.json(server, "models", "rollback", "tiny")["live_version"], better)
            self.assertNotIn(series, server.metrics())
            self.json(server, "models", "promote", "tiny", worse, *measured, "90")
            self.assertEqual(self.json(server, "models", "get", "tiny")["live_version"], worse)

    def test_what_is_refused(self):
        with self.start_with_sets() as server:
            def submit(**config):
                return self.refused(server, "jobs", "submit", "--config", self.config(**config))
            config = self.config().read_text()
            self.config().write_text(config.replace('"scenes"', '"nowhere"'))
            self.assertEqual(self.refused(server, "jobs", "submit", "--config", self.folder / "job.textproto"),
                             ("NOT_FOUND", "UNKNOWN_DATASET"))
            self.config().write_text(config.replace('"scenes"', f'"{self.folder}/scenes"'))
            error = self.json(server, "jobs", "submit", "--config", self.folder / "job.textproto", status=1)["error"]
            self.assertEqual(error["code"], "INVALID_ARGUMENT")
            self.assertIn("data.clean[0].dir", error["message"])
            self.assertEqual(submit(more="accumulate: 5000")[0], "INVALID_ARGUMENT")
            self.assertEqual(submit(more='output_dir: "/tmp"')[0], "INVALID_ARGUMENT")
            self.assertEqual(submit(more='init_from: "nobody"')[0], "NOT_FOUND")
            self.assertEqual(self.json(server, "jobs", "list")["jobs"], [])
            # A job that fails says why, and cannot be promoted.
            (self.folder / "rainy/gt/0.png").unlink()
            job = self.submit(server)
            self.wait_for(server, job, "FAILED")
            self.assertIn("0.png", self.json(server, "jobs", "get", job)["reason"])
            self.assertEqual(self.refused(server, "models", "promote", "--job", job),
                             ("FAILED_PRECONDITION", "JOB_STATE"))
            self.client(server, "jobs", "watch", job, status=1)
            self.assertEqual(self.refused(server, "jobs", "get", "../../etc"), ("NOT_FOUND", "UNKNOWN_JOB"))
            self.assertEqual(self.refused(server, "jobs", "download", job, "../jobs.db")[0], "INVALID_ARGUMENT")
            self.assertEqual(server.client().health(), "SERVING")

    def test_without_a_data_folder_there_are_no_jobs(self):
        with Server("--model", "identity") as server:
            self.assertEqual(self.refused(server, "jobs", "list"), ("FAILED_PRECONDITION", "NO_DATA_FOLDER"))

    def test_two_servers_share_a_folder_and_one_runs_its_jobs(self):
        with self.start_with_sets() as first, self.start_with_sets(drain_s=0) as second:
            self.assertEqual(self.refused(second, "jobs", "list"), ("FAILED_PRECONDITION", "JOBS_ELSEWHERE"))
            self.assertEqual(self.json(first, "jobs", "list")["jobs"], [])
            self.assertEqual(second.metrics()["deweather_runs_jobs"], 0)
            with second.client() as caller:
                caller.restore(encode(smooth(32, 32)))
            first.process.kill()
            wait_until(lambda: second.metrics()["deweather_runs_jobs"] == 1)
            self.client(second, "jobs", "watch", self.submit(second, steps=2))

    def test_a_server_takes_the_jobs_of_the_one_that_it_replaces_and_serves_meanwhile(self):
        with self.start_with_sets() as old:
            job = self.submit(old, steps=100000)
            self.wait_for(old, job, "RUNNING")
            with self.start_with_sets() as new:
                with new.client() as caller:
                    self.assertEqual(caller.health(), "SERVING")
                    caller.restore(encode(smooth(32, 32)))
                # The other may be one that drains: callers are to try again.
                self.assertEqual(self.refused(new, "jobs", "list"), ("UNAVAILABLE", "JOBS_ELSEWHERE"))
                watching = subprocess.Popen([program("deweather"), "jobs", "watch", job, "--server", new.address],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                self.assertIn("UNAVAILABLE", watching.stderr.readline())
                self.assertEqual(old.stop(), 0)
                wait_until(lambda: new.metrics()["deweather_runs_jobs"] == 1)
                self.wait_for(new, job, "RUNNING")
                self.json(new, "jobs", "cancel", job)
                self.assertEqual(watching.wait(30), 1)
                watching.stderr.close()
                self.assertIn("runs the jobs of", new.errors())

    def test_a_server_that_waits_for_jobs_can_be_stopped(self):
        with self.start_with_sets(), self.start_with_sets() as waiting:
            self.assertIn("no jobs yet", waiting.errors())
            self.assertEqual(waiting.stop(timeout=10), 0)

    def test_a_full_disk_keeps_no_server_from_restoring(self):
        mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=20k none "$0" && exec "$@"', str(self.data)]
        if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
            self.skipTest("no disk can be mounted here")
        with self.start(command=[*mount, program("deweather-server")]) as server:
            self.assertEqual(self.refused(server, "jobs", "list"), ("RESOURCE_EXHAUSTED", "DISK_FULL"))
            self.assertIn("jobs.db", server.errors())
            with server.client() as caller:
                caller.restore(encode(smooth(32, 32)))
            # There is room again.
            subprocess.run(["nsenter", "--target", str(server.process.pid), "--user", "--preserve-credentials", "--mount",
                            "mount", "-o", "remount,size=4m", str(self.data)], check=True)
            wait_until(lambda: server.metrics()["deweather_runs_jobs"] == 1)
            self.assertEqual(self.json(server, "jobs", "list")["jobs"], [])

    def test_programs_are_waited_for_whatever_was_inherited(self):
        ignoring = ["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh", program("deweather-server")]
        with self.start_with_sets(command=ignoring) as server:
            job = self.submit(server, steps=2)
            self.client(server, "jobs", "watch", job)
            self.assertEqual(self.state(server, job), "SUCCEEDED")

    def test_metrics_tell_of_jobs(self):
        with self.start_with_sets() as server:
            job = self.submit(server)
            self.client(server, "jobs", "watch", job)
            metrics = server.metrics()
            self.assertEqual(metrics['deweather_training_jobs{state="SUCCEEDED"}'], 1)
            self.assertEqual(metrics['deweather_training_jobs{state="FAILED"}'], 0)
            self.assertEqual(metrics["deweather_training_attempts_total"], 1)
            self.assertEqual(metrics["deweather_training_images_total"], 80)
            self.assertIn('deweather_training_evaluation{figure="rainy/psnr_rgb"}', metrics)

    def test_a_broken_store_stops_the_server_with_one_line(self):
        (self.data / "jobs").mkdir()
        (self.data / "jobs/jobs.db").write_bytes(b"no database" * 1000)
        done = subprocess.run([program("deweather-server"), "--model", "identity", "--data-dir", str(self.data),
                               "--listen", "127.0.0.1:0", "--metrics-listen", ""],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("jobs.db", done.stderr)

    def test_a_model_beyond_the_budget_is_not_read(self):
        leave = "mkdir -p ${3%/*}/run; truncate -s 1T ${3%/*}/run/tiny.safetensors"
        words = " ".join(f'launch: "{word}"' for word in ("sh", "-c", leave, "sh"))
        with self.start_with_sets(training=words) as server:
            job = self.submit(server)
            self.wait_for(server, job, "FAILED")
            self.assertIn("max_model_bytes is", self.json(server, "jobs", "get", job)["reason"])

    def torchrun(self):
        found = os.environ.get("DEWEATHER_TORCHRUN", "")
        if not os.access(found, os.X_OK):
            self.skipTest("DEWEATHER_TORCHRUN names no torchrun: it comes with PyTorch for Python")
        return found

    def test_torchrun_launches_a_job(self):
        launch = [self.torchrun(), "--standalone", "--nproc-per-node=2", "--no-python", program("deweather-train")]
        words = " ".join(f'launch: "{word}"' for word in launch)
        with self.start_with_sets(training=words) as server:
            jobs = [self.submit(server) for _ in range(2)]
            for job in jobs:
                self.client(server, "jobs", "watch", job)
            versions = [self.json(server, "jobs", "get", job)["model_version"] for job in jobs]
            self.assertEqual(versions[0], versions[1], "two ranks make the same model each time")
            long = self.submit(server, steps=100000)
            wait_until(lambda: len(runs(long)) >= 3, 60)  # torchrun and its ranks
            wait_until(lambda: (self.json(server, "jobs", "get", long).get("progress") or {}).get("step", 0) >= 5, 60)
            self.json(server, "jobs", "cancel", long)
            wait_until(lambda: runs(long) == [], 10)
            self.wait_for(server, long, "CANCELLED")
            # Its status is 1 whatever the rank's was: the run itself says that trying again makes no sense.
            (self.folder / "rainy/gt/0.png").unlink()
            wrong = self.submit(server)
            self.wait_for(server, wrong, "FAILED")
            done = self.json(server, "jobs", "get", wrong)
            self.assertIn("0.png", done["reason"])
            self.assertEqual(done["attempts"], 1)


if __name__ == "__main__":
    main()
