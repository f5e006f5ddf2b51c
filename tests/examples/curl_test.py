"""curl alone: examples/curl.sh, and the commands that README prints."""

import hashlib
import os
import re

from tools import EXAMPLES, Server, TestCase, blocks, decode, encode, main, missing, run, skip, smooth, tool

if not tool("curl"):
    skip(missing("curl"))

PRINTED = "127.0.0.1:8080"


def readme_commands():
    block, = [block for block in blocks("README.md") if "/v1/restore" in block]
    return block


class CurlTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--model", "identity", http=True)
        cls.addClassCleanup(cls.server.__exit__)

    def setUp(self):
        super().setUp()
        self.picture = encode(smooth(120, 80), "JPEG", quality=90)
        (self.folder / "rainy.jpg").write_bytes(self.picture)

    def test_readme_as_printed(self):
        """But for the server's ports, which others of this machine may have."""
        start, *commands = readme_commands().splitlines()
        self.assertRegex(start, rf"^build/release/bin/deweather-server --http-listen {PRINTED} &$")
        self.assertTrue(commands)
        script = "\n".join(commands).replace(PRINTED, self.server.http_address)
        run("bash", "-euc", script, cwd=self.folder, env={**os.environ, "no_proxy": "*"})
        restored = decode((self.folder / "restored.jpg").read_bytes())
        self.assertEqual(restored.shape, (80, 120, 3))
        with self.server.client() as client:
            self.assertTrue((decode(client.restore(self.picture).image) == restored).all())

    def test_the_script(self):
        done = run(EXAMPLES / "curl.sh", f"http://{self.server.http_address}", "rainy.jpg", "out.jpg", cwd=self.folder)
        self.assertEqual(decode((self.folder / "out.jpg").read_bytes()).shape, (80, 120, 3))
        self.assertRegex(done.stdout, re.compile(r"^deweather-model: identity@builtin", re.MULTILINE | re.IGNORECASE))
        self.assertIn("total;dur=", done.stdout)

    def test_an_error_is_told_and_leaves_no_file(self):
        (self.folder / "rainy.jpg").write_bytes(b"no picture")
        done = run(EXAMPLES / "curl.sh", f"http://{self.server.http_address}", "rainy.jpg", "out.jpg", cwd=self.folder,
                   status=1)
        self.assertIn("HTTP 400", done.stderr)
        self.assertIn("INVALID_IMAGE", done.stderr)
        self.assertFalse((self.folder / "out.jpg").exists())

    def test_a_token(self):
        tokens, secret = self.folder / "tokens.textproto", "a-token-of-sixteen-or-more-characters"
        digest = hashlib.sha256(secret.encode()).hexdigest()
        tokens.write_text(f'token {{ name: "curl" sha256: "{digest}" group: [GROUP_INFER] }}\n')
        with Server("--model", "identity", "--tokens", tokens, http=True) as server:
            url = f"http://{server.http_address}"
            done = run(EXAMPLES / "curl.sh", url, "rainy.jpg", "out.jpg", cwd=self.folder, status=1)
            self.assertIn("HTTP 401", done.stderr)
            run(EXAMPLES / "curl.sh", url, "rainy.jpg", "out.jpg", cwd=self.folder,
                env={**os.environ, "DEWEATHER_TOKEN": secret})
        self.assertEqual(decode((self.folder / "out.jpg").read_bytes()).shape, (80, 120, 3))


if __name__ == "__main__":
    main()
