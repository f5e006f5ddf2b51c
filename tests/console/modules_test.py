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

    def test_experts_have_colours_of_their_own(self):
        colours = self.run_in("colours", "return [...Array(256).keys()].map((e) => m.expertColour(e))")
        self.assertGreater(len({tuple(c) for c in colours}), 250)
        light = self.run_in("colours", "return [0, 0.25, 0.5, 0.75, 1].map((s) => m.heatColour(s))")
        self.assertEqual(sorted(light, key=sum), light)


if __name__ == "__main__":
    main()
