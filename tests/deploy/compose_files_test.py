"""deploy/compose.yaml and what it mounts, as files: what a slip of the pen would break."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402  goes on in the Python that has the packages
import yaml  # noqa: E402
from prerequisites import DEPLOY  # noqa: E402

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
TLS_FILE = DEPLOY / "compose.tls.yaml"


def default(text):
    """What compose makes of ${NAME:-value} when NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def seconds(duration):
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration).groups()
    return 60 * int(minutes or 0) + int(rest or 0)


def docker_compose():
    """The command of Docker Compose 2.20 or newer; None without."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            told = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False).stdout
            found = re.match(r"v?(\d+)\.(\d+)", told)
            if found and tuple(map(int, found.groups())) >= (2, 20):
                return command
    return None


def mounts(service):
    """(source, target, options) of each volume."""
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            yield default(volume["source"]), volume["target"], ["ro"] if volume.get("read_only") else []
            continue
        source, target, *options = default(volume).split(":")
        yield source, target, options


class ComposeFilesTest(unittest.TestCase):
    def test_is_of_the_current_specification(self):
        self.assertNotIn("version", COMPOSE)
        self.assertEqual(COMPOSE["name"], "deweather")

    def test_publishes_on_the_loopback_address_only(self):
        for name, service in SERVICES.items():
            for port in service["ports"]:
                self.assertRegex(default(port), r"^127\.0\.0\.1:\d+:\d+$", name)
            self.assertNotIn("network_mode", service)

    def test_plaintext_is_said_in_as_many_words(self):
        for name in ("server", "server-gpu"):
            self.assertIn("--listen=0.0.0.0:50051", SERVICES[name]["command"])
            self.assertIn("--allow-plaintext-beyond-loopback", SERVICES[name]["command"])

    def test_every_service_is_confined(self):
        for name, service in SERVICES.items():
            with self.subTest(name):
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertNotIn("privileged", service)
                self.assertNotIn("cap_add", service)
                self.assertTrue(service["logging"]["options"]["max-size"])
                self.assertTrue(service["deploy"]["resources"]["limits"]["memory"])
                self.assertEqual(service["restart"], "unless-stopped")

    def test_is_given_more_time_to_stop_than_the_server_takes(self):
        reference = (DEPLOY / "server.textproto").read_text()
        takes = sum(int(re.search(pattern, reference, re.DOTALL)[1]) for pattern in (
            r"\ndrain \{.*?\bdelay \{ seconds: (\d+) \}", r"\ndrain \{.*?\btimeout \{ seconds: (\d+) \}",
            r"\ntraining \{.*?\bstop_grace \{ seconds: (\d+) \}"))
        for name in ("server", "server-gpu"):
            self.assertGreaterEqual(seconds(SERVICES[name]["stop_grace_period"]), takes + 5)

    def test_images_are_pinned(self):
        for name, service in SERVICES.items():
            self.assertRegex(default(service["image"]), r":v?\d+\.\d+\.\d+(-cuda)?$", name)

    def test_everything_mounted_is_there(self):
        for name, service in SERVICES.items():
            for source, target, options in mounts(service):
                with self.subTest(service=name, target=target):
                    if source.startswith("."):
                        self.assertTrue((DEPLOY / source).exists(), source)
                        self.assertEqual(options, ["ro"])
                    else:
                        self.assertIn(source, COMPOSE["volumes"])

    def test_one_server_runs_whichever_the_profile(self):
        self.assertEqual(SERVICES["server"]["profiles"], ["cpu"])
        self.assertEqual(SERVICES["server-gpu"]["profiles"], ["gpu"])
        self.assertRegex((DEPLOY / ".env").read_text(), r"(?m)^COMPOSE_PROFILES=cpu$")
        self.assertEqual(SERVICES["server-gpu"]["networks"]["default"]["aliases"], ["server"])

    def test_the_gpu_server_differs_in_nothing_else(self):
        server, gpu = (dict(SERVICES[name]) for name in ("server", "server-gpu"))
        self.assertEqual(gpu["command"], [*server["command"], "--device=cuda"])
        self.assertEqual(gpu["deploy"]["resources"]["limits"], server["deploy"]["resources"]["limits"])
        for key in ("profiles", "image", "build", "command", "deploy", "networks"):
            server.pop(key, None), gpu.pop(key)
        self.assertEqual(gpu, server)

    def test_no_password_is_known(self):
        environment = SERVICES["grafana"]["environment"]
        self.assertEqual(environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"], "true")
        self.assertEqual(environment["GF_AUTH_ANONYMOUS_ORG_ROLE"], "Viewer")
        for service in SERVICES.values():
            self.assertNotIn("PASSWORD", " ".join(service.get("environment", {})))

    def test_a_mistyped_configuration_is_no_new_folder(self):
        for name in ("server", "server-gpu"):
            [mount] = [volume for volume in SERVICES[name]["volumes"] if isinstance(volume, dict)]
            self.assertEqual(default(mount["source"]), "./server.textproto")
            self.assertIs(mount["bind"]["create_host_path"], False)

    def test_health_is_asked_where_the_service_listens(self):
        for name in ("prometheus", "grafana"):
            with self.subTest(name):
                [port] = SERVICES[name]["ports"]
                self.assertIn(f"//127.0.0.1:{port.rsplit(':', 1)[1]}/", SERVICES[name]["healthcheck"]["test"][-1])

    def test_prometheus_finds_every_server_by_name(self):
        jobs = {job["job_name"]: job for job in yaml.safe_load(
            (DEPLOY / "prometheus.yml").read_text())["scrape_configs"]}
        self.assertEqual(jobs["deweather"]["dns_sd_configs"][0]["names"], ["server"])
        self.assertIn(str(jobs["deweather"]["dns_sd_configs"][0]["port"]),
                      " ".join(SERVICES["server"]["command"]))

    def test_promtool_takes_the_configuration_and_its_rules(self):
        promtool = shutil.which("promtool")
        if promtool is None:
            self.skipTest("no promtool here: run scripts/setup --with-deploy")
        done = subprocess.run([promtool, "check", "config", DEPLOY / "prometheus.yml"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("alerts.yml", done.stdout)

    def test_docker_compose_takes_it(self):
        compose = docker_compose()
        if compose is None:
            self.skipTest("no Docker Compose 2.20 or newer here")
        for flags, server in (([], "server"), (["--profile", "gpu"], "server-gpu")):
            out = subprocess.run([*compose, "-f", DEPLOY / "compose.yaml", *flags, "config", "--services"],
                                 capture_output=True, text=True, check=True).stdout
            self.assertEqual(set(out.split()), {server, "prometheus", "grafana"})

    def test_a_configuration_may_be_named_without_a_folder(self):
        compose = docker_compose()
        if compose is None:
            self.skipTest("no Docker Compose 2.20 or newer here")
        done = subprocess.run([*compose, "-f", DEPLOY / "compose.yaml", "config"], capture_output=True, text=True,
                              check=True, env={**os.environ, "DEWEATHER_CONFIG": "mine.textproto"})
        [mount] = [volume for volume in yaml.safe_load(done.stdout)["services"]["server"]["volumes"]
                   if volume["target"].endswith(".textproto")]
        self.assertEqual(mount["source"], str(DEPLOY / "mine.textproto"))


class TlsTest(unittest.TestCase):
    """The override for TLS, with its lines for mTLS and without."""

    @classmethod
    def setUpClass(cls):
        text = TLS_FILE.read_text()
        cls.plain = yaml.safe_load(text)
        mutual, lines = re.subn(r"(?m)^( *)# (?=DEWEATHER_TLS_|deweather_|- deweather|- --tls)", r"\1", text)
        assert lines == 10, lines
        cls.mutual = yaml.safe_load(mutual)

    def test_servers_do_what_they_do_without_and_use_the_files(self):
        for name in ("server", "server-gpu"):
            command = self.plain["services"][name]["command"]
            self.assertEqual(command[:-3], SERVICES[name]["command"])
            self.assertEqual([flag.partition("=")[0] for flag in command[-3:]], ["--tls-cert", "--tls-key", "--tokens"])
        self.assertEqual(set(self.plain["services"]), {"server", "server-gpu"})

    def test_every_file_is_a_secret_that_the_service_has(self):
        mutual = self.mutual["services"]["server"]
        self.assertIn("--tls-client-ca=/run/secrets/deweather_client_ca", mutual["command"])
        for tree in (self.plain, self.mutual):
            for name, service in tree["services"].items():
                used = re.findall(r"/run/secrets/(\w+)", " ".join([*service["command"], *service["environment"].values()]))
                self.assertEqual(set(used), set(service["secrets"]), name)
                for secret in used:
                    self.assertTrue(default(tree["secrets"][secret]["file"]).startswith("./secrets/"))

    def test_flags_and_variables_are_known(self):
        known = {program: subprocess.run([harness.program(program), *args, "--help"], capture_output=True, text=True,
                                         check=True).stdout
                 for program, args in (("deweather-server", []), ("deweather", ["health"]))}
        service = self.mutual["services"]["server"]
        for flag in service["command"]:
            self.assertRegex(known["deweather-server"], rf"{flag.partition('=')[0]}[ ,\n]")
        for variable in service["environment"]:
            self.assertIn(f"Env:{variable}", known["deweather"])

    def test_another_port_is_published(self):
        [port] = self.plain["services"]["server"]["ports"]
        self.assertEqual(default(port), "0.0.0.0:50443:50051")
        self.assertNotIn(":50443:", " ".join(map(default, SERVICES["server"]["ports"])))

    def test_docker_compose_takes_both(self):
        compose = docker_compose()
        if compose is None:
            self.skipTest("no Docker Compose 2.20 or newer here")
        command = [*compose, "-f", DEPLOY / "compose.yaml", "-f", TLS_FILE, "config"]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, "DEWEATHER_TLS_NAME": "deweather.example"})
        self.assertEqual(done.returncode, 0, done.stderr)
        server = yaml.safe_load(done.stdout)["services"]["server"]
        self.assertEqual(server["environment"]["DEWEATHER_TLS_NAME"], "deweather.example")
        self.assertEqual(len(server["ports"]), 3)
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("host name", refused.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
