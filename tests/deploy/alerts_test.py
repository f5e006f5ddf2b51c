"""deploy/alerts.yml: promtool's checks and tests; every alert has a section in docs/operations.md and a case in which it
fires; every metric in it is one that a server exports."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import Server, program  # noqa: E402
import yaml  # noqa: E402
from prerequisites import DEPLOY, ROOT, need  # noqa: E402
from prometheus import OPTIONAL, exported, metric_names  # noqa: E402

PROMTOOL = need("promtool")
program("deweather-server")
HERE = ROOT / "tests/deploy"
TESTS = ["alerts_test.yml", "alerts_week_test.yml"]
RULES = [rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


class AlertsTest(unittest.TestCase):
    def promtool(self, *args):
        done = subprocess.run([PROMTOOL, *args], capture_output=True, text=True, cwd=HERE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_rules_are_well_formed(self):
        self.promtool("check", "rules", DEPLOY / "alerts.yml")

    def test_alerts_fire_when_they_must_and_else_not(self):
        self.promtool("test", "rules", *TESTS)

    def test_each_fires_in_a_test(self):
        text = [yaml.safe_load((HERE / name).read_text()) for name in TESTS]
        fires = {case["alertname"] for file in text for test in file["tests"]
                 for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
        self.assertEqual(fires, set(ALERTS))

    def test_each_says_what_an_operator_needs(self):
        for name, rule in ALERTS.items():
            with self.subTest(name):
                self.assertRegex(name, r"^Deweather[A-Z]")
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook_url"})
                self.assertEqual(rule["annotations"]["runbook_url"], f"docs/operations.md#{name.lower()}")

    def test_each_has_its_section_in_the_guide(self):
        guide = (ROOT / "docs/operations.md").read_text()
        section = re.search(r"^## Alerts\n(.*?)(?=^## |\Z)", guide, re.M | re.S)[1]
        self.assertEqual(sorted(re.findall(r"^### (\S+)$", section, re.M)), sorted(ALERTS))

    def test_a_server_exports_every_metric(self):
        records = {rule["record"] for rule in RULES if "record" in rule}
        with tempfile.TemporaryDirectory() as data, Server("--data-dir", data) as server:
            there = exported(server) | records | OPTIONAL | {"up"}
        for rule in RULES:
            with self.subTest(rule.get("alert") or rule["record"]):
                asked = {name for name in metric_names(rule["expr"]) if not name.startswith("haproxy_")}
                self.assertEqual(asked - there, set())  # haproxy_test.py has HAProxy's


if __name__ == "__main__":
    unittest.main(verbosity=2)
