"""The console page in Chromium, against the real server: what a reader does, sees, and must not see.

DEWEATHER_SCREENSHOTS: a folder that keeps the pictures of it.
"""

from browser import PATIENCE_S, PHONE, ROOT, WIDE, BrowserTest, By, Keys  # first: it finds the Python that has Selenium

import base64
import hashlib
import io
import json
import os
import pathlib
import unittest

from harness import BIN, Server, decode, encode, main, noise, np, smooth, wait_until
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains

CHECKS = (ROOT / "tests/console/checks.js").read_text()
# A network of a few tokens: a step takes milliseconds.
TINY = {"kind": "KIND_FME", "embedDim": 16, "heads": 2, "headDim": 8, "channels": 4, "experts": 4, "kept": 2,
        "residual": True, "tilePx": 32, "overlapPx": 8}
PHOTO = smooth(200, 136)
TOKEN = "dw_a-token-for-everything"


def serve(*args, more=""):
    return Server(*args, config=f"drain {{ delay {{}} }} {more}", http=True)


class ConsoleTest(BrowserTest):
    def photo(self, name="rainy.png"):
        path = self.folder / name
        path.write_bytes(encode(PHOTO))
        return path

    def restore(self, path):
        self.upload(path)
        self.until("!document.getElementById('results').hidden")

    def choose_overlay(self, name):
        self.click(f"overlay-{name}")

    def check_page(self, where):
        for width in (WIDE, PHONE):
            for scheme in ("light", "dark"):
                with self.subTest(where=where, width=width, scheme=scheme):
                    self.resize(width)
                    self.prefer(scheme)
                    found = self.js(CHECKS)
                    self.assertEqual(found, {"contrast": [], "structure": [], "targets": [], "tooWide": 0})
                    self.keep_screenshot(f"{where}-{width}-{scheme}")
        self.check_names(where)
        self.resize(WIDE)
        self.prefer("light")

    def check_names(self, where, within=""):
        for kind in ("input", "select", "textarea", "button", "a[href]", "[role=region]", "progress"):
            for control in self.all(within + kind):
                self.check_name(where, control)

    def check_name(self, where, control):
        if control.is_displayed():
            with self.subTest(where=where, control=control.get_attribute("outerHTML")[:80]):
                self.assertTrue(control.accessible_name)

    def keep_screenshot(self, name):
        """Of the whole page, as high as it is."""
        self.js("window.scrollTo(0, 0)")
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        folder = pathlib.Path(os.environ.get("DEWEATHER_SCREENSHOTS") or self.folder)
        (folder / f"{name}.png").write_bytes(base64.b64decode(shot))
        self.assertGreater(len(set(decode(base64.b64decode(shot))[::8, ::8, 1].ravel())), 8, "a page of one colour")


class RestoreTest(ConsoleTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(serve())
        cls.caller = cls.enterClassContext(cls.server.client())

    def setUp(self):
        super().setUp()
        self.open(self.server)
        self.until("document.querySelectorAll('#model option').length > 1")

    def pixels_after(self):
        data = self.js("""
            const image = document.querySelector('.after');
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext('2d').drawImage(image, 0, 0);
            return canvas.toDataURL('image/png').split(',')[1];""")
        return decode(base64.b64decode(data))[..., :3]

    def test_shows_what_the_server_makes_of_a_photo(self):
        self.choose("format", "FORMAT_PNG")
        self.restore(self.photo())
        expected = self.caller.restore(encode(PHOTO), format=2, expert_map=True, uncertainty_map=True)
        self.assertEqual(int(np.abs(self.pixels_after().astype(int) - decode(expected.image)).max()), 0)
        facts = self.at("result-facts").text
        self.assertIn(expected.model.version, facts)
        self.assertIn("200 × 136", facts)
        self.assertIn("Request", facts)
        self.assertEqual(self.at("download").get_attribute("download"), "rainy-restored.png")
        self.assertTrue(self.at("download").get_attribute("href").startswith("blob:"))
        for stage in ("decode", "queue", "infer", "blend", "encode"):
            self.assertIn(stage, self.at("timings").text)
        layer = expected.routing.layers[0]
        rows = self.all("#routing tbody tr")
        self.assertEqual(len(rows), len(layer.tokens))
        self.assertIn(f"{100 * layer.tokens[0] / expected.routing.units:.1f}", rows[0].text)

    def test_the_divider_moves_by_key_and_by_mouse(self):
        self.restore(self.photo())
        split = self.at("split")
        self.assertEqual(split.get_attribute("value"), "50")
        split.send_keys(Keys.ARROW_RIGHT * 5)
        self.assertEqual(split.get_attribute("value"), "55")
        self.assertIn("55", split.get_attribute("aria-valuetext"))
        clipped = "getComputedStyle(document.querySelector('.after')).clipPath"
        self.assertIn("55%", self.js(f"return {clipped}"))
        split.send_keys(Keys.HOME)
        self.assertIn("0%", self.js(f"return {clipped}"))
        width = split.rect["width"]
        drag = ActionChains(self.driver).move_to_element_with_offset(split, -int(width / 4), 0).click_and_hold()
        drag.move_by_offset(int(width / 2), 0).release().perform()
        self.assertAlmostEqual(int(split.get_attribute("value")), 75, delta=2)

    def test_no_photo_is_distorted(self):
        for width, height in ((90, 300), (300, 90)):
            path = self.folder / f"{width}.png"
            path.write_bytes(encode(smooth(width, height)))
            self.upload(path)
            self.until("Math.abs(document.getElementById('compare').style.getPropertyValue('--ratio') - arguments[0]) < 0.01",
                       width / height)
            for window in (WIDE, PHONE):
                self.resize(window)
                stage = self.at("compare").rect
                self.assertAlmostEqual(stage["width"] / stage["height"], width / height, delta=0.02)
                self.assertLess(stage["height"], 900)

    def test_overlays_are_the_servers_maps(self):
        self.restore(self.photo())
        expected = self.caller.restore(encode(PHOTO), expert_map=True, uncertainty_map=True)
        experts, unsure = decode(expected.expert_map), decode(expected.uncertainty_map)
        self.assertFalse(self.all(".overlay")[0].is_displayed())
        self.choose_overlay("experts")
        drawn = self.overlay_pixels()
        self.assertEqual(drawn.shape[:2], experts.shape)
        colours = {int(e): {tuple(c) for c in drawn[experts == e]} for e in np.unique(experts)}
        self.assertEqual({len(c) for c in colours.values()}, {1}, "an expert has one colour")
        self.assertEqual(len(set().union(*colours.values())), len(colours), "and no other has it")
        self.assertEqual(len(self.all("#overlay-legend li")), len(colours))
        self.choose_overlay("uncertainty")
        light = self.overlay_pixels().astype(int).sum(-1)
        order = np.argsort(unsure, axis=None, kind="stable")
        self.assertLess(light.ravel()[order[0]], light.ravel()[order[-1]])
        self.assertTrue(self.at("opacity").is_displayed())
        self.at("opacity").send_keys(Keys.HOME)
        self.assertEqual(self.js("return document.querySelector('.overlay').style.opacity"), "0")
        self.choose_overlay("none")
        self.assertFalse(self.all(".overlay")[0].is_displayed())

    def overlay_pixels(self):
        self.until("!document.querySelector('.overlay').hidden")
        data = self.js("return document.querySelector('.overlay').toDataURL().split(',')[1]")
        return decode(base64.b64decode(data))[..., :3]

    def test_takes_a_sample(self):
        self.click("sample")
        self.until("!document.getElementById('results').hidden")
        self.assertIn("768 × 512", self.at("result-facts").text)
        self.assertEqual(self.all(".before")[0].get_property("naturalWidth"), 768)
        self.choose_overlay("experts")
        self.check_page("restore")

    def test_an_error_is_the_servers_own(self):
        self.allowed = ["/deweather.v1.RestorationService/Restore"]
        path = self.folder / "text.png"
        path.write_text("This is no picture.")
        self.upload(path)
        self.until_says("restore-status", "INVALID_IMAGE")
        self.assertRegex(self.at("restore-status").text, r"Request\s+\S+")
        self.assertTrue(self.at("restore-button").is_enabled())
        self.allowed.append("ERR_")  # what is no picture cannot be shown
        self.restore(self.photo())
        self.assertNotIn("INVALID_IMAGE", self.at("restore-status").text)

    def test_a_photo_that_is_too_large_is_not_sent(self):
        self.allowed = ["ERR_"]  # what is no picture cannot be shown
        path = self.folder / "large.png"
        with path.open("wb") as file:
            file.truncate(48 << 20)
        self.upload(path)
        self.until_says("restore-status", "48 MiB")
        self.assertIn("at most 47 MiB", self.at("restore-status").text)
        # Where the server is configured to take less.
        self.js("""
            window.fetch = async () => new Response('{"code": "resource_exhausted", "message": "it may have 9"}', {status: 413});""")
        self.upload(self.photo())
        self.until_says("restore-status", " B and grows by a third on its way: it may have 9")

    def test_the_focus_stays_where_it_was(self):
        self.restore(self.photo())
        self.js("""
            const real = window.fetch;
            window.fetch = (path, options) => (!path.endsWith('/Restore') ? real(path, options) : new Promise((_, reject) => {
              window.asked = (window.asked ?? 0) + 1;
              options.signal.addEventListener('abort', () => reject(options.signal.reason));
            }));""")
        focused = "document.activeElement.id"
        self.at("restore-button").send_keys(Keys.ENTER)
        self.until("window.asked === 1")
        self.assertEqual(self.js(f"return {focused}"), "restore-button")
        self.driver.switch_to.active_element.send_keys(Keys.ENTER)  # once is enough
        self.driver.switch_to.active_element.send_keys(Keys.TAB)
        self.assertEqual(self.js(f"return {focused}"), "stop-button")
        self.driver.switch_to.active_element.send_keys(Keys.ENTER)
        self.until_says("restore-status", "Stopped.")
        self.assertEqual(self.js(f"return [{focused}, window.asked]"), ["restore-button", 1])

    def test_a_file_that_misses_its_place_is_not_opened(self):
        prevented = self.js("""
            const dropped = (place, fill) => {
              const data = new DataTransfer();
              fill(data);
              const event = new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
              document.querySelector(place).dispatchEvent(event);
              return event.defaultPrevented;
            };
            return [dropped('.top', (data) => data.items.add(new File(['x'], 'x.png'))),
                    dropped('.top', (data) => data.setData('text/plain', 'x'))];""")
        self.assertEqual(prevented, [True, False])

    def test_what_was_chosen_stays(self):
        self.js("""
            const model = {name: 'tasks', liveVersion: 'abc', tasks: ['rain', 'snow']};
            window.answers = [];
            window.fetch = async (path) => {
              window.answers.push(path);
              return window.broken ? new Response('', {status: 502}) : new Response(JSON.stringify({models: [model]}));
            };""")

        def visit():
            self.click("tab-metrics")
            self.js("window.answers = []")
            self.click("tab-restore")
            self.until("window.answers.some((path) => path.endsWith('ListModels'))")

        visit()
        self.until("document.querySelector('#model [value=tasks]')")
        self.choose("model", "tasks")
        self.choose("task", "snow")
        for broken in (False, True):
            self.js("window.broken = arguments[0]; document.querySelector('#task option').dataset.old = ''", broken)
            visit()
            if not broken:
                self.until("!document.querySelector('#task [data-old]')")
            self.assertEqual(self.js("return [document.getElementById('model').value, document.getElementById('task').value]"),
                             ["tasks", "snow"])

    def test_an_old_browser_is_told_so(self):
        self.assertFalse(self.at("too-old").is_displayed())
        script = self.devtools("Page.addScriptToEvaluateOnNewDocument", source="delete Map.groupBy")
        self.addCleanup(self.devtools, "Page.removeScriptToEvaluateOnNewDocument", **script)
        self.driver.refresh()
        self.until("document.getElementById('too-old').checkVisibility()")

    def test_tabs_go_by_arrow_keys(self):
        self.at("tab-restore").send_keys(Keys.ARROW_RIGHT)
        self.allowed = ["/deweather.v1.TrainingService/ListJobs"]
        self.assertEqual(self.driver.switch_to.active_element.get_attribute("id"), "tab-jobs")
        self.assertTrue(self.at("panel-jobs").is_displayed())
        self.assertFalse(self.at("panel-restore").is_displayed())
        self.until_says("jobs-unavailable", "no data folder")
        self.driver.switch_to.active_element.send_keys(Keys.END)
        self.assertTrue(self.at("panel-metrics").is_displayed())
        self.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        self.assertTrue(self.at("panel-restore").is_displayed())
        self.assertEqual(self.js("return [...document.querySelectorAll('[role=tab]')].map((tab) => tab.tabIndex)"), [0, -1, -1])

    def test_metrics_are_live(self):
        before = self.server.metrics()
        self.caller.restore(encode(PHOTO))
        self.click("tab-metrics")
        self.until("document.querySelectorAll('#metrics .chart').length >= 8")
        version = [name for name in before if name.startswith("deweather_model_info")][0].split('version="')[1][:12]
        self.assertIn(version, self.at("server-facts").text)
        self.assertRegex(self.at("memory-now").text, r"\d+ (M|G)iB")
        self.assertIn("Layer 1", self.at("experts-chart").text)
        # A call between two looks is in the next one.
        batches = self.at("batches-now").text
        self.caller.restore(encode(PHOTO))
        self.until("document.getElementById('batches-now').textContent !== arguments[0]", batches)
        self.until("!/[–0] \\/s/.test(document.getElementById('requests-now').textContent)")
        self.check_page("metrics")

    def test_a_page_from_elsewhere_gets_nothing(self):
        policy = self.js("return fetch('/').then((reply) => reply.headers.get('content-security-policy'))")
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        # A page of another origin, whose calls the server refuses: nobody's browser is its caller's tool.
        self.allowed = ["CORS", "ERR_FAILED", "403"]
        self.driver.get("data:text/html,<title>elsewhere</title>")
        refused = self.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            fetch(arguments[0], {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})
                .then(() => done('answered'), (error) => done(error.name));""",
            f"http://{self.server.http_address}/deweather.v1.ModelService/ListModels")
        self.assertEqual(refused, "TypeError")


@unittest.skipUnless((BIN / "deweather-train").exists(), "deweather-train is not built")
class JobsTest(ConsoleTest):
    def setUp(self):
        super().setUp()
        (self.folder / "data").mkdir()
        for i in range(4):
            path = self.folder / f"scenes/{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise(8, 8, seed=i)).resize((64, 56), Image.BICUBIC).save(path)
        registered = f'registered {{ name: "scenes" dir: "{self.folder / "scenes"}" }}'
        self.server = self.enterContext(serve(
            "--model", "identity", "--data-dir", str(self.folder / "data"), "--precision", "f32",
            more=f"datasets {{ {registered} }} training {{ first_retry {{}} stop_grace {{ seconds: 20 }} }}"))
        self.open(self.server, "#jobs")
        self.until("document.querySelectorAll('#job-dataset option').length === 1")

    def submit(self, name, steps):
        self.fill("job-name", name)
        self.fill("job-steps", str(steps))
        self.js("document.querySelector('#job-form details').open = true")
        config = json.loads(self.at("job-config").get_property("value"))
        self.assertEqual((config["name"], config["steps"], config["data"]["clean"][0]["dir"]), (name, steps, "scenes"))
        config |= {"model": TINY, "batch": 2, "threads": 1, "precision": "PRECISION_F32", "logEverySteps": 5,
                   "checkpointEverySteps": 1000}
        config["data"]["cropPx"] = 32
        self.js("const editor = document.getElementById('job-config'); editor.value = arguments[0];"
                "editor.dispatchEvent(new Event('input'))", json.dumps(config))
        self.click("submit-job")
        self.until_says("job-form-status", "is stored")

    def state(self, state):
        self.until("document.querySelector('#job-title .state')?.textContent === arguments[0]", state)

    def test_a_job_is_submitted_watched_and_cancelled(self):
        self.submit("endless", 1000000)
        self.state("running")
        self.until("/L/.test(document.querySelector('#job-chart .line').getAttribute('d'))")
        self.assertRegex(self.all("#job-chart svg")[0].get_attribute("aria-label"), r"at step \d+ of 1000000")
        self.until_says("job-log", "step")
        drawn = len(self.all("#job-chart .line")[0].get_attribute("d"))
        self.until("document.querySelector('#job-chart .line').getAttribute('d').length > arguments[0]", drawn)
        self.check_page("jobs")
        self.click("cancel-job")
        self.state("cancelled")
        self.assertFalse(self.at("cancel-job").is_enabled())
        self.assertEqual(self.js("return document.activeElement.id"), "job-title")
        self.assertTrue(self.at("resume-job").is_displayed())

    def test_a_job_is_watched_on_after_the_page_was_elsewhere(self):
        self.submit("endless", 1000000)
        self.until("/L/.test(document.querySelector('#job-chart .line')?.getAttribute('d') ?? '')")
        self.click("tab-metrics")
        steps = "(document.querySelector('#job-chart svg').getAttribute('aria-label').match(/step (\\d+)/) ?? [])[1] * 1"
        left_at = self.js(f"return {steps}")
        self.click("tab-jobs")
        self.until(f"{steps} > arguments[0]", left_at)
        numbers = self.js("return document.querySelector('#job-chart .line').getAttribute('d').match(/M/g).length")
        self.assertEqual(numbers, 1, "one line without a gap")
        self.click("cancel-job")
        self.state("cancelled")

    def test_a_finished_job_is_promoted(self):
        self.submit("tiny", 20)
        self.state("succeeded")
        self.until("!document.getElementById('promote-job').disabled")
        self.click("promote-job")
        self.assertTrue(self.at("promote-dialog").is_displayed())
        self.assertIn("tiny", self.at("promote-what").text)
        self.click("promote-cancel")
        self.assertEqual(self.live(), [])
        self.click("promote-job")
        self.click("promote-confirm")
        self.until_says("job-status", "is live")
        self.assertEqual(self.live(), ["tiny"])
        self.click("tab-restore")
        self.until("[...document.querySelectorAll('#model option')].some((o) => o.value === 'tiny')")
        self.choose("model", "tiny")
        self.restore(self.photo())
        self.assertIn("tiny", self.at("result-facts").text)

    def live(self):
        with self.server.client() as caller:
            request = caller.message("deweather.v1.ListModelsRequest")()
            models = caller.method("deweather.v1.ModelService", "ListModels")(request, timeout=30).models
        return [model.name for model in models if model.live_version and model.name != "identity"]

    def edit(self, config):
        self.js("const editor = document.getElementById('job-config'); editor.value = arguments[0];"
                "editor.dispatchEvent(new Event('input'))", json.dumps(config, indent=2))

    def edited(self):
        return json.loads(self.at("job-config").get_property("value"))

    def test_a_configuration_stays_as_it_was_written(self):
        self.assertEqual(self.edited()["data"], {"clean": [{"dir": "scenes", "weather": "rain"}]})
        sources = [{"dir": "scenes", "weight": 3}, {"dir": "others"}]
        written = self.edited() | {"data": {"clean": sources, "augment": False}, "evaluate": {"pairsDir": ["measured"]}}
        self.edit(written)
        self.come_back()
        self.assertEqual(self.edited(), written)
        # Another data set takes the place of those, and of nothing else.
        self.js("document.getElementById('job-dataset').dispatchEvent(new Event('change'))")
        alone = {"clean": [{"dir": "scenes", "weather": "rain"}], "augment": False}
        self.assertEqual(self.edited(), written | {"data": alone})
        self.js("document.getElementById('job-config').value = '{ half'")
        self.come_back()
        self.assertEqual(self.at("job-config").get_property("value"), "{ half")

    def come_back(self):
        """To the tab, when the data sets have been listed anew."""
        self.js("document.querySelector('#job-dataset option').dataset.old = ''")
        self.click("tab-metrics")
        self.click("tab-jobs")
        self.until("!document.querySelector('#job-dataset [data-old]')")

    def test_the_list_outlives_a_proxy_that_fails(self):
        self.js("""
            const real = window.fetch;
            window.fetch = (path, options) => (window.fetch = real, Promise.resolve(new Response('<html>', {status: 502})));""")
        self.until_says("jobs-status", "The server answered 502.")
        self.until("document.getElementById('jobs-status').textContent === ''")

    def test_a_wrong_configuration_is_told(self):
        self.allowed = ["/deweather.v1.TrainingService/SubmitJob"]
        self.fill("job-steps", "20")
        editor = self.at("job-config")
        self.js("document.querySelector('#job-form details').open = true")
        config = json.loads(editor.get_property("value"))
        for value, said in ((json.dumps(config | {"batch": 5000}), "4096"), ("{", "no JSON")):
            self.js("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", editor, value)
            self.click("check-job")
            self.until_says("job-form-status", said)
        self.assertEqual(self.all("button.job"), [])


class TokenTest(ConsoleTest):
    def test_a_token_is_asked_for_and_kept_for_the_session_alone(self):
        tokens = self.folder / "tokens.textproto"
        tokens.write_text(f'token {{ name: "all" sha256: "{hashlib.sha256(TOKEN.encode()).hexdigest()}" '
                          "group: [GROUP_INFER, GROUP_TRAIN, GROUP_ADMIN] }\n")
        server = self.enterContext(serve("--model", "identity", "--tokens", str(tokens)))
        self.allowed = ["401"]
        self.open(server)
        self.until("document.getElementById('token-dialog').open")
        self.assertTrue(self.at("token-status").text)
        self.check_names("token", "#token-dialog ")
        self.at("token").send_keys("dw_€", Keys.ENTER)
        self.until_says("token-status", "no token")
        self.assertTrue(self.at("token-dialog").is_displayed())
        self.fill("token", "wrong")
        self.at("token").send_keys(Keys.ENTER)
        self.until_says("token-status", "none of this server's")
        self.until("document.getElementById('token-dialog').open")
        self.at("token").send_keys(TOKEN, Keys.ENTER)
        self.until("document.querySelectorAll('#model option').length > 1")
        self.assertFalse(self.at("token-dialog").is_displayed())
        self.restore(self.photo())
        kept = self.js("return [Object.values(sessionStorage), localStorage.length, document.cookie, location.href]")
        self.assertEqual(kept[:3], [[TOKEN], 0, ""])
        self.assertNotIn(TOKEN, kept[3] + self.driver.page_source)
        self.click("tab-metrics")
        self.until("document.querySelectorAll('#metrics .chart').length > 5")
        self.click("tab-restore")
        self.click("token-button")
        self.click("token-forget")
        self.until("document.getElementById('token-dialog').open")
        self.assertEqual(self.js("return sessionStorage.length"), 0)


if __name__ == "__main__":
    main()
