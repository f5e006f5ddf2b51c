"""The Dockerfile as hadolint reads it, and what it must agree about with the rest of the repository."""

import re
import subprocess
import sys
import unittest

from prerequisites import ROOT, need

HADOLINT = need("hadolint")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


class DockerfileTest(unittest.TestCase):
    def test_hadolint_has_nothing_to_say(self):
        done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_the_version_is_that_of_the_project(self):
        project = re.search(r"^project\(\w+ VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.M)
        self.assertIn(f"\nARG VERSION={project[1]}\n", DOCKERFILE)

    def test_whatever_is_downloaded_has_its_version(self):
        images = re.findall(r"^ARG \w+=(\S+/\S+)$", DOCKERFILE, re.M)
        self.assertEqual(len(images), 1)
        self.assertRegex(images[0], r":(?!latest)[\w.-]+$")
        self.assertNotRegex(DOCKERFILE, r"(?m)\b(apt-get|pip) +install|\b(curl|wget)\b|^ADD ")


if __name__ == "__main__":
    sys.exit(unittest.main())
