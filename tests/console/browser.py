"""Chromium without a screen, as Selenium drives it. Import this before all else: it goes on in the Python that has Selenium
(scripts/setup --with-console), and finds tests/e2e/harness.py."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

try:
    from selenium import webdriver
except ImportError:
    python = subprocess.run([ROOT / "scripts/setup", "--print-console"], capture_output=True, text=True,
                            check=False).stdout.strip()
    if os.environ.get("DEWEATHER_IN_CONSOLE") or not os.access(python, os.X_OK):
        print(f"skipped: no Selenium in '{python}': run scripts/setup --with-console")
        sys.exit(77)
    os.environ["DEWEATHER_IN_CONSOLE"] = "1"
    os.execv(python, [python, "-B", *sys.argv])

for wanted in ("chromium", "chromedriver"):
    if not shutil.which(wanted):
        print(f"skipped: no {wanted}: run scripts/setup --with-console")
        sys.exit(77)

from harness import TestCase, wait_until  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

WIDE, PHONE = 1280, 390
PATIENCE_S = 90


def start_chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    # No GPU, and the little shared memory of a container.
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.accept_insecure_certs = True
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


class BrowserTest(TestCase):
    """One browser for a class; what it complains of fails the test during which it did."""

    # Refused calls are in the browser's log too; tests that provoke some say so.
    allowed = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.driver = start_chromium()
        cls.addClassCleanup(cls.driver.quit)

    def setUp(self):
        super().setUp()
        self.allowed = []
        self.resize(WIDE)
        self.prefer("light")
        self.driver.get("about:blank")
        self.driver.get_log("browser")

    def tearDown(self):
        """Before the cleanups: a page that asks a server that has ended complains."""
        self.driver.get("about:blank")
        complaints = [entry["message"] for entry in self.driver.get_log("browser")
                      if entry["level"] in ("WARNING", "SEVERE")]
        self.assertEqual([c for c in complaints if not any(a in c for a in self.allowed)], [])
        super().tearDown()

    def open(self, server, part=""):
        self.driver.get(f"http://{server.http_address}/{part}")

    def at(self, name):
        return self.driver.find_element(By.ID, name)

    def click(self, name):
        """Away from the bar at the top, under which the driver thinks it can click."""
        self.js("arguments[0].scrollIntoView({block: 'center'})", self.at(name))
        self.at(name).click()

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition, *arguments):
        """Waits for a JavaScript expression."""
        try:
            wait_until(lambda: self.js(f"return {condition}", *arguments), PATIENCE_S)
        except AssertionError as error:
            status = [e.text for e in self.all(".status") if e.text]
            raise AssertionError(f"{error}: {condition}; the page says {status}") from None

    def until_says(self, name, words):
        self.until("document.getElementById(arguments[0]).textContent.includes(arguments[1])", name, words)

    def fill(self, name, text):
        field = self.at(name)
        field.clear()
        field.send_keys(text, Keys.TAB)

    def choose(self, name, value):
        Select(self.at(name)).select_by_value(value)

    def devtools(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def resize(self, width, height=900):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=width == PHONE)

    def prefer(self, scheme):
        self.devtools("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}])

    def upload(self, path):
        self.at("photo").send_keys(str(path))
