"""The page's modules alone: what they compute, against Python."""

from browser import BrowserTest  # first: it finds the Python that has Selenium

import base64
import json
import struct

from harness import Server, encode, main, noise, np


class ModulesTest(BrowserTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(Server("--model", "identity", http=True))

    def setUp(self):
        super().setUp()
        self.open(self.server)

    def run_in(self, module, body, *arguments):
        """What the body of an async function answers; the module's exports are in `m`, the arguments in `a`."""
        answer = self.driver.execute_async_script(f"""
            const [a, done] = [[...arguments].slice(0, -1), arguments[arguments.length - 1]];
            import('/console/{module}.js').then(async (m) => {{ {body} }})
                .then((value) => done({{value}}), (error) => done({{error: String(error)}}));""", *arguments)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]

    def read_png(self, data):
        return self.run_in("grey_png", """
            const image = await m.readGreyPng(Uint8Array.from(atob(a[0]), (c) => c.charCodeAt(0)));
            return [image.width, image.height, [...image.values]];""", base64.b64encode(data).decode())

    def test_grey_pictures_keep_all_their_bits(self):
        for dtype in (np.uint8, np.uint16):
            rising = np.arange(37 * 23).reshape(23, 37) * 71 % (np.iinfo(dtype).max + 1)
            for pixels in (noise(37, 23, channels=1, dtype=dtype), rising.astype(dtype)):
                for level in (0, 9):
                    width, height, values = self.read_png(encode(pixels, compress_level=level))
                    self.assertEqual((width, height), (37, 23))
                    self.assertEqual(values, pixels.ravel().tolist())

    def test_other_pictures_are_refused(self):
        for data, said in ((encode(noise(4, 4)), "not plain grey"), (b"GIF89a, it says", "no PNG")):
            with self.assertRaisesRegex(AssertionError, said):
                self.read_png(data)

    def test_envelopes_come_whole_however_they_are_cut(self):
        messages = [{"number": "1"}, {"text": "ü" * 300}, {}]
        bodies = [json.dumps(m, ensure_ascii=False).encode() for m in messages]
        data = b"".join(struct.pack(">BI", 2 * (i == 2), len(b)) + b for i, b in enumerate(bodies))
        for piece in (1, 3, 5, 64, len(data)):
            got = self.run_in("envelopes", """
                const body = new ReadableStream({start(out) {
                  for (let i = 0; i < a[0].length; i += a[1]) out.enqueue(new Uint8Array(a[0].slice(i, i + a[1])));
                  out.close();
                }});
                const found = [];
                for await (const one of m.envelopes(body)) found.push([one.flags, one.message]);
                return found;""", list(data), piece)
            self.assertEqual(got, [[0, messages[0]], [0, messages[1]], [2, {}]])
        sent = bytes(self.run_in("envelopes", "return [...m.envelope(a[0])]", messages[1]))
        self.assertEqual(struct.unpack(">BI", sent[:5]), (0, len(sent) - 5))
        self.assertEqual(json.loads(sent[5:]), messages[1])

    def test_a_stream_that_breaks_goes_on_behind_what_came(self):
        got = self.run_in("follow", """
            const {envelope} = await import('/console/envelopes.js');
            const ended = envelope({});
            ended[0] = 2;
            const asked = [];
            // The first stream breaks, the second is cut off, the third is refused for now, the fourth ends.
            window.fetch = async (path, options) => {
              const request = JSON.parse(new TextDecoder().decode(options.body.slice(5)));
              asked.push(request.after);
              if (asked.length === 3) return new Response('{"code": "unavailable", "message": "draining"}', {status: 503});
              return new Response(new ReadableStream({
                start(out) { out.enqueue(envelope({number: request.after + 1})); },
                pull(out) {
                  if (asked.length === 1) out.error(new TypeError('network error'));
                  if (asked.length === 4) out.enqueue(ended);
                  out.close();
                }}, {highWaterMark: 0}));
            };
            let last = 0;
            const broken = [];
            const {signal} = new AbortController();
            await m.follow('Service/Watch', () => ({after: last}), (one) => { last = one.number; },
                           {signal, broken: (error) => broken.push(error.code), pauseMs: 1});
            return {asked, broken, last};""")
        self.assertEqual(got, {"asked": [0, 1, 2, 2], "broken": ["unavailable"] * 3, "last": 3})

    def test_a_stream_that_is_refused_for_good_is_not_tried_again(self):
        with self.assertRaisesRegex(AssertionError, "no such job"):
            self.run_in("follow", """
                window.fetch = async () => new Response('{"code": "not_found", "message": "no such job"}', {status: 404});
                await m.follow('Service/Watch', () => ({}), () => {}, {signal: new AbortController().signal});""")

    def fails(self, call, response):
        """What a call throws for a response that is made in the page."""
        return self.run_in("api", f"""
            window.fetch = async () => {response};
            try {{ await m.{call}; }} catch (e) {{ return [e.code, e.mayPass, e.wantsToken, e.message]; }}""")

    def test_errors_of_a_proxy_are_told_by_their_status(self):
        codes = {400: "internal", 401: "unauthenticated", 403: "permission_denied", 404: "unimplemented", 418: "unknown",
                 429: "unavailable", 502: "unavailable", 503: "unavailable", 504: "unavailable"}
        for status, code in codes.items():
            for body in ("<html>Bad gateway</html>", "", "null", "[]", '{"error": "no"}'):
                got = self.fails("call('Service/Call')", f"new Response({json.dumps(body)}, {{status: {status}}})")
                self.assertEqual(got, [code, code == "unavailable", status == 401, f"The server answered {status}."])

    def test_an_answer_that_is_cut_may_be_asked_for_again(self):
        cut = "new Response(new ReadableStream({start(out) { out.enqueue(new Uint8Array([123])); }, " \
              "pull(out) { out.error(new TypeError('network error')); }}, {highWaterMark: 0}), {status: %d})"
        for call in ("call('Service/Call')", "text('/metrics')"):
            for status in (200, 502):
                self.assertEqual(self.fails(call, cut % status), ["unavailable", True, False, "The connection broke off."])
        self.assertEqual(self.fails("call('Service/Call')", "new Response('<html>')")[:2], ["unavailable", True])

    def test_a_server_that_hangs_is_given_up(self):
        got = self.fails("text('/metrics', {signal: AbortSignal.timeout(1)})",
                         "new Promise((_, reject) => setTimeout(() => reject(new DOMException('', 'TimeoutError')), 1))")
        self.assertEqual(got, ["deadline_exceeded", True, False, "The server does not answer."])
        # Looks do not pile up: the second begins when the first has ended.
        looks = self.run_in("polling", """
            let [begun, end] = [0, null];
            const until = async (done) => { while (!done()) await new Promise((resolve) => setTimeout(resolve, 1)); };
            const timer = m.startPolling(() => new Promise((resolve) => { ++begun; end = resolve; }), 1);
            let turns = 0;
            const other = setInterval(() => ++turns, 1);
            await until(() => turns >= 20);
            const first = begun;
            end();
            await until(() => begun > first);
            clearInterval(timer);
            clearInterval(other);
            return [first, begun];""")
        self.assertEqual(looks, [1, 2])

    def test_a_token_is_what_a_header_carries(self):
        allowed = self.run_in("api", "return a[0].map(m.token.allows)", ["dw_a-Z.9~+/=", "dw_€", "dw_ü", "two words", ""])
        self.assertEqual(allowed, [True, False, False, False, False])

    def test_times_are_read_as_a_clock_shows_them(self):
        said = self.run_in("format", "return a[0].map(m.seconds)", [0.0123, 59.2, 59.7, 119.7, 3599.7, 7260, float(86400)])
        self.assertEqual(said, ["12.3 ms", "59.2 s", "1 min 0 s", "2 min 0 s", "1 h 0 min", "2 h 1 min", "24 h 0 min"])
        midnight = self.run_in("format", "return m.moment(new Date(2026, 0, 2, 0, 30).toISOString())")
        self.assertRegex(midnight, r"\b00:30$")

    def test_a_job_of_many_events_is_shown_once_a_frame(self):
        got = self.run_in("job_view", """
            const {envelope} = await import('/console/envelopes.js');
            const joined = async (messages) => new Uint8Array(await new Blob(messages.map(envelope)).arrayBuffer());
            const events = Array.from({length: a[0]}, (_, i) => ({number: i + 1, progress: {step: i + 1, steps: a[0], loss: 1 / (i + 1)}}));
            Object.assign(events[1], {progress: undefined, warning: 'a crop was too small'});
            const asked = {};
            window.fetch = async (path, {body}) => {
              const name = path.split('/').pop();
              asked[name] = JSON.parse(typeof body === 'string' ? body : new TextDecoder().decode(body.slice(5)));
              if (name === 'ListCheckpoints') return new Response('{"artifacts": [{"name": "log.txt", "bytes": "1000000"}]}');
              const bytes = await joined(name === 'WatchJob' ? events : [{offset: 940000, data: btoa('the end')}]);
              return new Response(new ReadableStream({start(out) { out.enqueue(bytes); }}));
            };
            let drawn = 0;
            const observer = new MutationObserver((changes) => { drawn += changes.length; });
            observer.observe(document.getElementById('job-facts'), {childList: true});
            const view = new m.JobView(() => {});
            view.open({id: 'a', model: 'b', state: 'STATE_RUNNING'});
            const label = () => document.querySelector('#job-chart svg')?.getAttribute('aria-label') ?? '';
            const log = () => document.getElementById('job-log').textContent;
            while (!label().includes(`at step ${a[0]} `) || !log()) await new Promise((resolve) => setTimeout(resolve, 5));
            view.pause();
            return {drawn, warnings: [...document.querySelectorAll('#job-warnings li')].map((item) => item.textContent),
                    offset: asked.StreamLogs.offset, log: log(), losses: view.losses.length};""", 3000)
        self.assertLess(got.pop("drawn"), 300)
        self.assertEqual(got, {"warnings": ["a crop was too small"], "offset": 940000, "log": "the end", "losses": 2999})

    def test_metrics_are_read_as_prometheus_reads_them(self):
        text = '\n'.join([
            "# HELP up Says so.", "# TYPE up gauge", "up 1", 'named{a="x, y}",b="q\\"u\\\\o\\nte"} 2.5e-3 1700000000',
            'seconds_bucket{le="0.1",p="a"} 4', 'seconds_bucket{le="0.5",p="a"} 8', 'seconds_bucket{le="+Inf",p="a"} 10',
            'seconds_bucket{le="0.1",p="b"} 0', 'seconds_bucket{le="0.5",p="b"} 0', 'seconds_bucket{le="+Inf",p="b"} 0', ""])
        found = self.run_in("prometheus", """
            const scrape = m.parse(a[0]);
            const all = m.histogram(scrape, 'seconds');
            const zero = all.map(({bound}) => ({bound, count: 3}));
            return {up: m.total(scrape, 'up'), named: m.select(scrape, 'named')[0], none: m.total(scrape, 'none') ?? null,
                    half: m.quantile(0.5, all), ninety: m.quantile(0.8, all), last: m.quantile(0.99, all),
                    nothing: Number.isNaN(m.quantile(0.5, m.since(all, all))), each: m.perBucket(all).map((b) => b.count),
                    since: m.since(all, all.map((b) => ({...b, count: b.count / 2}))).map((b) => b.count),
                    restarted: m.since(all, all.map((b) => ({...b, count: 99}))).map((b) => b.count)};""", text)
        self.assertEqual(found["up"], 1)
        self.assertEqual(found["named"], {"labels": {"a": "x, y}", "b": 'q"u\\o\nte'}, "value": 0.0025})
        self.assertIsNone(found["none"])
        self.assertAlmostEqual(found["half"], 0.2)
        self.assertAlmostEqual(found["ninety"], 0.5)
        self.assertAlmostEqual(found["last"], 0.5)
        self.assertTrue(found["nothing"])
        self.assertEqual(found["each"], [4, 4, 2])
        self.assertEqual(found["since"], [2, 4, 5])
        self.assertEqual(found["restarted"], [4, 8, 10])

    def test_axes_have_round_steps_that_cover_all(self):
        for low, high in ((0, 1), (0, 0), (0, 0.0123), (0.2, 0.31), (0, 987654), (5, 5)):
            steps = self.run_in("chart", "return m.ticks(a[0], a[1], 3)", low, high)
            self.assertLessEqual(steps[0], low + 1e-12)
            self.assertGreaterEqual(steps[-1], high - 1e-12)
            self.assertLessEqual(len(steps), 6)
            self.assertEqual(sorted(set(steps)), steps)

    def test_a_line_of_many_points_is_thinned_and_keeps_its_peaks(self):
        got = self.run_in("chart", """
            const points = Array.from({length: 300000}, (_, i) => [i, i === 123456 ? 99 : i === 234567 ? -7 : Math.sin(i)]);
            const kept = m.thinned(points);
            const place = document.createElement('div');
            m.drawLines(place, {series: [{name: 'loss', points}], label: 'Loss'});
            return {kept: kept.length, sorted: kept.every(([x], i) => i === 0 || x > kept[i - 1][0]),
                    high: Math.max(...kept.map(([, y]) => y)), low: Math.min(...kept.map(([, y]) => y)),
                    drawn: place.querySelector('.line').getAttribute('d').split('L').length, few: m.thinned([[1, 2]])};""")
        self.assertLessEqual(got.pop("kept"), 2000)
        self.assertLessEqual(got.pop("drawn"), 2000)
        self.assertEqual(got, {"sorted": True, "high": 99, "low": -7, "few": [[1, 2]]})

    def test_experts_have_colours_of_their_own(self):
        colours = self.run_in("colours", "return [...Array(256).keys()].map((e) => m.expertColour(e))")
        self.assertGreater(len({tuple(c) for c in colours}), 250)
        light = self.run_in("colours", "return [0, 0.25, 0.5, 0.75, 1].map((s) => m.heatColour(s))")
        self.assertEqual(sorted(light, key=sum), light)


if __name__ == "__main__":
    main()
