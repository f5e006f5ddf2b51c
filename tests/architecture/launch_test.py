"""The files of deploy/launch: they parse, and hand each process what it must know. No cluster is needed."""

import os
import pathlib
import subprocess
import tempfile
import unittest

LAUNCH = pathlib.Path(__file__).parents[2] / "deploy/launch"


class LaunchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bin = pathlib.Path(folder.name)

    def fake(self, name, text):
        """A program of that name in PATH."""
        path = self.bin / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def run_script(self, name, *args, **env):
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(["bash", str(LAUNCH / name), *args], env={**os.environ, **env, "PATH": path},
                              capture_output=True, text=True, check=False)

    def test_scripts_parse(self):
        for path in (LAUNCH / "torchrun.sh", LAUNCH / "train.sbatch"):
            done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_torchrun(self):
        self.fake("torchrun", 'echo "$@"')
        run = "--no-python deweather-train run --config c.textproto --progress lines\n"
        self.assertEqual(self.run_script("torchrun.sh", "c.textproto").stdout,
                         "--standalone --nproc-per-node=gpu --max-restarts=3 " + run)
        two = self.run_script("torchrun.sh", "c.textproto", NODES="2", HEAD="a:29500", RANKS="4", RESTARTS="0")
        self.assertEqual(two.stdout, "--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=a:29500 --nproc-per-node=4 "
                                     "--max-restarts=0 " + run)
        for args, env, text in (((), {}, "CONFIG is missing"), (("c",), {"NODES": "2"}, "HEAD is HOST:PORT")):
            done = self.run_script("torchrun.sh", *args, **env)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(text, done.stderr)

    def test_slurm_task(self):
        """Two tasks of a job, started by a stand-in for srun."""
        self.fake("scontrol", 'case $1 in show) printf "node1\\nnode2\\n" ;; requeue) echo "requeued $2" ;; esac')
        self.fake("srun", 'for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=2 "${@:2}" || exit; done')
        self.fake("deweather-train", 'echo "$RANK $WORLD_SIZE $LOCAL_RANK/${LOCAL_WORLD_SIZE:-} $MASTER_ADDR $MASTER_PORT $*"; exit $STATUS')
        self.fake("nproc", "echo 16")
        job = {"SLURM_JOB_ID": "31234", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NTASKS_PER_NODE": "2",
               "SLURM_CPUS_PER_TASK": "8"}
        done = self.run_script("train.sbatch", "/c.textproto", STATUS="0", **job)
        run = "node1 31234 run --config /c.textproto --progress lines"
        self.assertEqual(done.stdout, f"0 2 0/2 {run}\n1 2 1/2 {run}\n", done.stderr)
        self.assertEqual(done.returncode, 0)
        self.fake("nproc", "echo 8")  # of its own
        bound = self.run_script("train.sbatch", "/c.textproto", STATUS="0", **job)
        self.assertEqual(bound.stdout, f"0 2 0/ {run}\n1 2 1/ {run}\n", bound.stderr)
        stopped = self.run_script("train.sbatch", "/c.textproto", STATUS="3", **job)
        self.assertIn("requeued 31234", stopped.stdout)
        self.assertEqual(stopped.returncode, 3)
        self.assertNotIn("requeued", self.run_script("train.sbatch", "/c.textproto", STATUS="1", **job).stdout)

    def test_kubernetes(self):
        try:
            import yaml
        except ImportError:
            self.skipTest("no yaml in this Python")
        job = yaml.safe_load((LAUNCH / "pytorchjob.yaml").read_text(encoding="utf-8"))
        self.assertEqual((job["apiVersion"], job["kind"]), ("kubeflow.org/v1", "PyTorchJob"))
        replicas = job["spec"]["pytorchReplicaSpecs"]
        self.assertEqual(replicas["Master"]["replicas"], 1)
        for replica in replicas.values():
            self.assertEqual(replica["restartPolicy"], "OnFailure")
            container, = replica["template"]["spec"]["containers"]
            self.assertEqual(container["name"], "pytorch")
            self.assertEqual(container["command"] + container["args"][:1], ["deweather-train", "run"])
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            self.assertEqual(mounts, {volume["name"] for volume in replica["template"]["spec"]["volumes"]})


if __name__ == "__main__":
    unittest.main()
