"""The real server under what a service manager or a container grants it: a quota of processors and of memory, a root
that is read-only, no privileges; and the number of its threads, which follows the quota and not the machine."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess

from harness import ROOT, Server, TestCase, decode, encode, main, noise, program, smooth, wait_until
from jobs_test import CONFIG, picture

SHIPPED = ROOT / "model/weights/deweather-small.safetensors"
MEBIBYTE = 1 << 20

# A machine with many processors: what programs ask for their number says so many.
MANY = 64
MANY_PROCESSORS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
long sysconf(int name) {
  if (name == _SC_NPROCESSORS_CONF || name == _SC_NPROCESSORS_ONLN) return %(many)d;
  return ((long (*)(int))dlsym(RTLD_NEXT, "sysconf"))(name);
}
int get_nprocs(void) { return %(many)d; }
int get_nprocs_conf(void) { return %(many)d; }
int sched_getaffinity(pid_t process, size_t size, cpu_set_t* set) {
  (void)process;
  memset(set, 0, size);
  for (int i = 0; i < %(many)d; ++i) CPU_SET_S(i, size, set);
  return 0;
}
""" % {"many": MANY}


def works(*command):
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class Group:
    """A control group of this machine, in whatever version it has. Raises OSError where none can be made."""

    def __init__(self, **limits):
        self.folders = []
        try:
            for controller, value in limits.items():
                self.limit(controller, value)
        except OSError:
            self.remove()
            raise

    def limit(self, controller, value):
        files = {"cpu": ("cpu.cfs_quota_us", "cpu.max"), "memory": ("memory.limit_in_bytes", "memory.max")}
        texts = {"cpu": (str(value * 100000), f"{value * 100000} 100000"), "memory": (str(value), str(value))}
        old = pathlib.Path("/sys/fs/cgroup", controller)
        version = 0 if old.is_dir() else 1
        folder = (old if version == 0 else old.parent) / f"deweather-limits-{os.getpid()}"
        if folder not in self.folders:
            folder.mkdir()
            self.folders.append(folder)
        with open(folder / files[controller][version], "r+", encoding="ascii") as file:
            file.write(texts[controller][version])

    def inside(self):
        """A command that goes on in the group."""
        join = " && ".join(f'echo $$ > "{folder}/cgroup.procs"' for folder in self.folders)
        return ["sh", "-c", f'{join} && exec "$@"', "sh"]

    def remove(self):
        for folder in self.folders:
            wait_until(lambda f=folder: works("rmdir", f))


def group(test, **limits):
    try:
        made = Group(**limits)
    except OSError as error:
        test.skipTest(f"no control group can be made here: {error}")
    test.addCleanup(made.remove)
    return made


def sandbox(writable):
    """As systemd's NoNewPrivileges=, CapabilityBoundingSet= and ProtectSystem=strict do it: all is read-only but for
    a folder."""
    mounts = (f'mount --make-rprivate / && mount --bind "{writable}" "{writable}" && mount -o remount,bind,ro / && '
              'exec "$@"')
    return ["unshare", "-rm", "sh", "-c", mounts, "sh", "setpriv", "--no-new-privs", "--bounding-set", "-all",
            "--inh-caps", "-all"]


def thread_names(server):
    """How many threads of each name the server has."""
    names = {}
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            name = (task / "comm").read_text().strip()
            names[name] = names.get(name, 0) + 1
    return names


class LimitsTest(TestCase):
    def client(self, server, *args):
        return json.loads(self.run_program("deweather", *args, "--server", server.address, "--json").stdout)

    def test_a_service_with_little(self):
        data = self.folder / "data"
        data.mkdir()
        if not works(*sandbox(data), "true"):
            self.skipTest("nothing can be mounted here, or there is no setpriv")
        limits = group(self, cpu=1, memory=1024 * MEBIBYTE)
        for i in range(2):
            picture(self.folder / f"scenes/{i}.png", i)
            picture(self.folder / f"rainy/input/{i}.png", i, shift=30)
            picture(self.folder / f"rainy/gt/{i}.png", i)
        sets = "".join(f'registered {{ name: "{name}" dir: "{self.folder / name}" }} ' for name in ("scenes", "rainy"))
        job = self.folder / "job.textproto"
        job.write_text(CONFIG % {"steps": 5, "more": ""})
        command = [*limits.inside(), *sandbox(data), program("deweather-server")]
        with Server("--data-dir", str(data), "--model", str(SHIPPED), command=command,
                    config=f"drain {{ delay {{}} }} datasets {{ {sets} }}") as server, server.client() as caller:
            status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
            self.assertIn("NoNewPrivs:\t1\n", status)
            self.assertIn("CapEff:\t0000000000000000\n", status)
            self.assertFalse(works("nsenter", "-m", "-t", str(server.process.pid), "touch", str(ROOT / "README.md")))
            self.assertEqual(server.metrics()["deweather_memory_limit_bytes"], 1024 * MEBIBYTE)
            self.assertEqual(decode(caller.restore(encode(smooth(600, 400))).image).shape, (400, 600, 3))
            submitted = self.client(server, "jobs", "submit", "--config", job)["id"]
            self.run_program("deweather", "jobs", "watch", submitted, "--server", server.address)
            self.assertEqual(self.client(server, "jobs", "get", submitted)["state"], "SUCCEEDED")
            self.assertEqual(server.stop(), 0)
        self.assertTrue((data / "jobs").is_dir())

    def test_threads_follow_the_quota(self):
        threads = {}
        for processors in (1, 2):
            limits = group(self, cpu=processors)
            threads[processors] = self.threads_of(command=[*limits.inside(), program("deweather-server")])
            limits.remove()
            limits.folders.clear()
            self.assertEqual(threads[processors]["model"], processors)
        self.assertEqual(threads[1]["worker"], threads[2]["worker"])  # never fewer than two
        print(f"threads under a quota of 1: {threads[1]}; of 2: {threads[2]}")

    def test_threads_do_not_follow_the_machine(self):
        limits = group(self, cpu=2)
        few = self.threads_of(command=[*limits.inside(), program("deweather-server")])
        many = self.threads_of(command=[*limits.inside(), program("deweather-server")],
                               env={"LD_PRELOAD": self.many_processors()})
        print(f"threads under a quota of 2 processors: {few}; where the machine has {MANY}: {many}")
        self.assertEqual((many["model"], many["worker"]), (few["model"], few["worker"]))
        # What is gRPC's own follows the machine, up to 32 and 16 threads, and only waits.
        for names in (few, many):
            for name in ("event_engine", "nexting_thread", "default-executo"):
                names.pop(name)
        self.assertLess(sum(many.values()), sum(few.values()) + 4)

    def many_processors(self):
        compiler = shutil.which("cc")
        if compiler is None:
            self.skipTest("no compiler here")
        source = self.folder / "many_processors.c"
        source.write_text(MANY_PROCESSORS)
        library = self.folder / "many_processors.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return str(library)

    def threads_of(self, **options):
        """After some work."""
        with Server("--model", str(SHIPPED), **options) as server, server.client() as caller:
            picture_bytes = encode(noise(700, 500))
            for call in [caller.start_restore(picture_bytes) for _ in range(4)]:
                call.result()
            names = thread_names(server)
            self.assertEqual(server.stop(), 0)
        return names


if __name__ == "__main__":
    main()
