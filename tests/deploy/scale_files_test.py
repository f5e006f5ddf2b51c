"""deploy/scale as files, as compose_files_test.py looks at what is beside it."""

import re
import shutil
import subprocess
import unittest

from compose_files_test import default, mounts, seconds
import yaml
from prerequisites import DEPLOY

SCALE = DEPLOY / "scale"
COMPOSE = yaml.safe_load((SCALE / "compose.yaml").read_text())
SERVICES = {name: service for name, service in COMPOSE["services"].items() if "extends" not in service}
BESIDE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


class ScaleFilesTest(unittest.TestCase):
    def test_publishes_on_the_loopback_address_only(self):
        published = [default(port) for service in SERVICES.values() for port in service.get("ports", [])]
        self.assertTrue(published)
        for port in published:
            self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$")

    def test_every_service_is_confined_as_the_one_server_is(self):
        for name, service in SERVICES.items():
            for key in ("restart", "read_only", "tmpfs", "cap_drop", "security_opt", "logging"):
                self.assertEqual(service[key], BESIDE["server"][key], f"{name}: {key}")
            self.assertTrue(service["deploy"]["resources"]["limits"]["memory"])

    def test_servers_are_what_the_one_server_is(self):
        for name in ("server", "jobs"):
            self.assertEqual(SERVICES[name]["image"], BESIDE["server"]["image"])
            self.assertEqual(SERVICES[name]["stop_grace_period"], BESIDE["server"]["stop_grace_period"])
        one = [flag for flag in BESIDE["server"]["command"] if not flag.startswith("--http-listen")]  # HAProxy has no HTTP
        self.assertEqual(SERVICES["jobs"]["command"], one)
        self.assertEqual(SERVICES["server"]["command"], [*one, "--no-jobs"])
        self.assertEqual(SERVICES["prometheus"]["image"], BESIDE["prometheus"]["image"])

    def test_the_image_is_built_once(self):
        self.assertEqual([name for name, service in SERVICES.items() if "build" in service], ["server"])

    def test_haproxy_may_open_as_many_files_as_it_wants(self):
        most = re.search(r"^    maxconn (\d+)$", (SCALE / "haproxy.cfg").read_text(), re.M)[1]
        self.assertGreater(SERVICES["haproxy"]["ulimits"]["nofile"], 2 * int(most) + 100)

    def test_one_server_writes_the_data(self):
        options = {name: option for name, service in SERVICES.items() for source, _, option in mounts(service)
                   if source == "data"}
        self.assertEqual(options, {"jobs": [], "server": ["ro"]})
        self.assertNotIn("replicas", SERVICES["jobs"]["deploy"])

    def test_haproxy_is_given_more_time_to_stop_than_it_takes(self):
        line = next(line for line in (SCALE / "haproxy.cfg").read_text().splitlines() if "hard-stop-after" in line)
        self.assertGreater(seconds(SERVICES["haproxy"]["stop_grace_period"]), seconds(line.split()[1]))

    def test_everything_mounted_is_there(self):
        for service in SERVICES.values():
            for source, target, options in mounts(service):
                if source.startswith("."):
                    self.assertTrue((SCALE / source).exists(), source)
                    self.assertEqual(options, ["ro"], target)
                else:
                    self.assertIn(source, COMPOSE["volumes"])

    def test_promtool_takes_the_configuration_and_its_rules(self):
        promtool = shutil.which("promtool")
        if promtool is None:
            self.skipTest("no promtool here: run scripts/setup --with-deploy")
        done = subprocess.run([promtool, "check", "config", SCALE / "prometheus.yml"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("alerts.yml", done.stdout)

    def test_docker_compose_takes_it(self):
        compose = shutil.which("docker-compose")
        if compose is None:
            self.skipTest("no docker-compose here")
        out = subprocess.run([compose, "-f", SCALE / "compose.yaml", "config", "--services"],
                             capture_output=True, text=True, check=True).stdout
        self.assertEqual(set(out.split()), {"haproxy", "server", "jobs", "prometheus", "grafana"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
