"""kill -9 of the server or of a job's program, again and again, while short jobs run.

Each round submits jobs until enough are on their way, waits for a random moment and kills the server or a
program. At the end the server is left alone until every job has ended.

Bounds: no acknowledged job is lost; no job has two programs at once, at any look at the processes (every 10 ms);
each history is legal and ends where the store says; every checkpoint and model is whole; a job that
succeeded has its version in the model store.
"""

import contextlib
import hashlib
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

from measure import Report, arguments, real_server

import grpc
from jobs_test import CONFIG, picture
from resume_test import stated_and_found_hash

TRAINING = "deweather.v1.TrainingService"
SERVER = """
drain {{ delay {{}} }}
training {{ first_retry {{}} max_failures: 1000 stop_grace {{ seconds: 20 }} max_running: 2 }}
datasets {{ registered {{ name: "scenes" dir: "{folder}/scenes" }} registered {{ name: "rainy" dir: "{folder}/rainy" }} }}
"""
LEGAL = {None: {"QUEUED"}, "QUEUED": {"RUNNING", "CANCELLED", "FAILED"},
         "RUNNING": {"QUEUED", "CANCELLING", "SUCCEEDED", "FAILED"},
         "CANCELLING": {"CANCELLED", "SUCCEEDED"}}
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}


class Programs:
    """Looks at the processes all the time; remembers the most that one job had at once."""

    def __init__(self, jobs):
        self.most, self._jobs, self._end = {}, jobs.encode(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def now(self):
        """Pids by job."""
        found = {}
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                environment = pathlib.Path("/proc", entry, "environ").read_bytes() if entry.isdigit() else b""
                if b"DEWEATHER_JOBS=" + self._jobs not in environment.split(b"\0"):
                    continue
                job = environment.split(b"DEWEATHER_JOB=")[1].split(b"\0")[0].decode()
                found.setdefault(job, []).append(int(entry))
        return found

    def _run(self):
        while not self._end.wait(0.01):
            for job, pids in self.now().items():
                self.most[job] = max(self.most.get(job, 0), len(pids))


def state_name(client, job):
    return type(job).State.Name(job.state).removeprefix("STATE_")


class Jobs:
    """What a caller of TrainingService knows of its jobs."""

    def __init__(self):
        self.acknowledged = []

    def submit(self, client, config, number):
        """The same request until it is acknowledged: the server may be killed meanwhile."""
        from google.protobuf import text_format
        request = client.message("deweather.v1.SubmitJobRequest")(request_id=f"kill-{number}")
        text_format.Parse(config, request.config)
        job = client.method(TRAINING, "SubmitJob")(request, timeout=30)
        if job.id not in self.acknowledged:
            self.acknowledged.append(job.id)

    def states(self, client):
        get = client.method(TRAINING, "GetJob")
        wanted = client.message("deweather.v1.GetJobRequest")
        return {i: state_name(client, get(wanted(id=i), timeout=30)) for i in self.acknowledged}

    def history(self, client, job):
        request = client.message("deweather.v1.WatchJobRequest")(id=job)
        return list(client.method(TRAINING, "WatchJob")(request, timeout=60))


def history_problem(events, state):
    numbers = [e.number for e in events]
    if numbers != list(range(1, len(numbers) + 1)):
        return f"numbers {numbers}"
    before = None
    for event in events:
        if event.WhichOneof("event") != "state_change":
            continue
        change = event.state_change
        job_type = type(change).DESCRIPTOR.fields_by_name["state"].enum_type
        now = job_type.values_by_number[change.state].name.removeprefix("STATE_")
        if now not in LEGAL.get(before, set()):
            return f"{before} -> {now}"
        before = now
    return "" if before == state else f"ends with {before}, the store says {state}"


def torn(folder):
    """Files of jobs that are not what they say."""
    return [str(path) for path in folder.glob("jobs/*/run/checkpoints/*.safetensors")
            if len(set(stated_and_found_hash(path))) != 1]


def missing_versions(client, jobs, data):
    missing = []
    for job in jobs:
        found = client.method(TRAINING, "GetJob")(client.message("deweather.v1.GetJobRequest")(id=job))
        if state_name(client, found) != "SUCCEEDED":
            continue
        path = data / "models" / found.model / found.model_version / "model.safetensors"
        if not path.exists() or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(found.model_version):
            missing.append(job)
    return missing


def main():
    flags = arguments(__doc__, count=100, jobs=6, steps=60, longest_ms=2500, seed=1)
    report, rng, jobs = Report("job_kills"), random.Random(flags.seed), Jobs()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="job-kills-"))
    data = folder / "data"
    data.mkdir()
    for i in range(4):
        picture(folder / f"scenes/{i}.png", i)
        picture(folder / f"rainy/input/{i}.png", i, shift=30)
        picture(folder / f"rainy/gt/{i}.png", i)

    def start():
        return real_server("--model", "identity", "--data-dir", str(data), "--precision", "f32",
                           config=SERVER.format(folder=folder))

    submitted, kills = 0, {"server": 0, "program": 0}
    with Programs(str((data / "jobs").resolve())) as programs:
        server = start()
        for _ in range(flags.count):
            with contextlib.suppress(grpc.RpcError), server.client() as client:
                active = sum(s not in ENDED for s in jobs.states(client).values())
                while active < flags.jobs:
                    config = CONFIG % {"steps": rng.randrange(10, flags.steps), "more": ""}
                    jobs.submit(client, config.replace("seed: 7", f"seed: {submitted}"), submitted)
                    submitted, active = submitted + 1, active + 1
            time.sleep(rng.uniform(0, flags.longest_ms / 1e3))
            pids = [pid for found in programs.now().values() for pid in found]
            if pids and rng.random() < 0.5:
                kills["program"] += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                continue
            kills["server"] += 1
            server.process.kill()
            server.process.wait()
            server = start()
        with server, server.client() as client:
            end = time.monotonic() + 600
            while not all(s in ENDED for s in jobs.states(client).values()) and time.monotonic() < end:
                time.sleep(0.5)
            states = jobs.states(client)
            problems = {job: problem for job, state in states.items()
                        if (problem := history_problem(jobs.history(client, job), state))}
            missing = missing_versions(client, jobs.acknowledged, data)
            exit_status = server.stop(timeout=60)
    counts = {state: list(states.values()).count(state) for state in sorted(set(states.values()))}
    report.figures(kills=kills, jobs=len(states), states=counts, histories=problems,
                   torn=torn(data), folder=str(folder))
    report.at_least("jobs", len(states), flags.jobs)
    report.at_most("jobs that did not succeed", len(states) - counts.get("SUCCEEDED", 0), 0)
    report.at_most("programs of one job at once", max(programs.most.values(), default=0), 1)
    report.at_most("illegal histories", len(problems), 0)
    report.at_most("torn checkpoints", len(torn(data)), 0)
    report.at_most("results that are not in the model store", len(missing), 0)
    report.at_most("exit status", abs(exit_status), 0)
    report.finish()


if __name__ == "__main__":
    sys.exit(main())
