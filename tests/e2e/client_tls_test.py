"""`deweather` over TLS and with tokens: what it says when something is wrong is what helps."""

import os

from certificates import Authority
from harness import Server, TestCase, encode, main, noise


class ClientTlsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder, "home")
        self.certificate, self.key = self.authority.sign("server")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("DEWEATHER_TLS")}

    def serve(self, *args, **options):
        return self.enterContext(Server("--model", "identity", "--tls-cert", self.certificate, "--tls-key", self.key,
                                        *map(str, args), **options))

    def deweather(self, *args, status=0):
        return self.run_program("deweather", *args, status=status, env=self.env)

    def health(self, server, *args, status=0):
        return self.deweather("health", "--server", server.address, *args, status=status)

    def says(self, words, server, *args, code="UNAVAILABLE"):
        lines = self.health(server, *args, status=1).stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith(f"{code}: "), lines)
        self.assertIn(words, lines[0])

    def test_restores(self):
        server = self.serve()
        picture = self.folder / "in.png"
        picture.write_bytes(encode(noise(60, 40)))
        self.env["DEWEATHER_TLS_CA"] = str(self.authority.file)
        for command in (("health",), ("restore", picture, "-o", self.folder / "out.png"), ("models", "list"),
                        ("bench", "--duration", "100ms", "--warmup", "0s", "--concurrency", "2")):
            self.deweather(*command, "--server", server.address)
        port = server.address.rpartition(":")[2]
        self.deweather("health", "--server", f"localhost:{port}")

    def test_the_servers_own_certificate_is_authority_enough(self):
        self.assertEqual(self.health(self.serve(), "--tls-ca", self.certificate).stdout, "SERVING\n")

    def test_what_is_wrong_with_the_server(self):
        other = Authority(self.folder, "elsewhere")
        server = self.serve()
        self.says("speaks TLS: --tls", server)
        self.says("is of the authority /CN=home, which is not in", server, "--tls-ca", other.file)
        self.says("not for a.example", server, "--tls-ca", self.authority.file, "--tls-name", "a.example")
        with Server("--model", "identity") as plain:
            self.says("speaks gRPC without TLS", plain, "--tls-ca", self.authority.file)

    def test_what_is_wrong_with_the_caller(self):
        own, key = self.authority.sign("caller")
        stranger, stranger_key = Authority(self.folder, "elsewhere").sign("stranger")
        server = self.serve("--tls-client-ca", self.authority.file)
        ca = ("--tls-ca", self.authority.file)
        self.health(server, *ca, "--tls-cert", own, "--tls-key", key)
        self.says("wants a certificate of the caller", server, *ca)
        self.says("is of the authority /CN=elsewhere", server, *ca, "--tls-cert", stranger, "--tls-key", stranger_key)

    def test_wrong_usage(self):
        for words, args in [("--tls-ca: cannot open", ("--tls-ca", self.folder / "none.pem")),
                            ("no certificate in PEM", ("--tls-ca", self.key)),
                            ("--tls-cert: needs --tls-key", ("--tls-ca", self.certificate, "--tls-cert", self.certificate)),
                            ("is empty", ("--token-file", "/dev/null"))]:
            lines = self.deweather("health", *args, status=2).stderr.splitlines()
            self.assertEqual(lines[-1][:18], "INVALID_ARGUMENT: ", lines)
            self.assertIn(words, lines[-1])
        self.env["DEWEATHER_TLS_CA"] = str(self.folder / "none.pem")
        self.assertIn("none.pem", self.deweather("models", "list", status=2).stderr)

    def test_tokens(self):
        made = self.run_program("deweather-server", "--make-token", "camera")
        token, tokens = self.folder / "token", self.folder / "tokens.textproto"
        token.write_text(made.stdout)
        token.chmod(0o600)
        tokens.write_text(made.stderr)
        server = self.serve("--tokens", tokens)
        self.env["DEWEATHER_TLS_CA"] = str(self.authority.file)
        listing = ("models", "list", "--server", server.address)
        line = self.deweather(*listing, status=1).stderr
        self.assertRegex(line, r"^UNAUTHENTICATED: .*--token-file")
        self.deweather(*listing, "--token-file", token)
        line = self.deweather("jobs", "list", "--server", server.address, "--token-file", token, status=1).stderr
        self.assertRegex(line, r"^PERMISSION_DENIED: .*camera")
        other = self.folder / "other"
        other.write_text("a" * 43)
        other.chmod(0o600)
        line = self.deweather(*listing, "--token-file", other, status=1).stderr
        self.assertRegex(line, r"^UNAUTHENTICATED: .*--token-file")
        self.assertNotIn("aaa", line)
        self.assertNotIn(made.stdout.strip(), server.errors())


if __name__ == "__main__":
    main()
