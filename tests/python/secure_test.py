"""TLS, tokens and request ids; certificates are made here."""

import asyncio
import hashlib
import subprocess

import grpc
import pytest
from fake_server import FakeServer, fail
from harness import Server, encode, noise

from deweather_client import AsyncClient, Client, NotFound, PermissionDenied, Unauthenticated, Unavailable

VARIABLES = ("SERVER", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_NAME", "TOKEN_FILE")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"DEWEATHER_{name}", raising=False)


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, and certificates of a server and of a client."""
    folder = tmp_path_factory.mktemp("pki")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    for name, names in (("server", "IP:127.0.0.1,DNS:localhost"), ("client", "DNS:client")):
        (folder / "extensions").write_text(f"subjectAltName={names}")
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-extfile", "extensions", "-days", "2")
    return folder


def credentials(pki, mutual=False, name="server"):
    pair = [((pki / f"{name}.key").read_bytes(), (pki / f"{name}.pem").read_bytes())]
    return grpc.ssl_server_credentials(pair, (pki / "ca.pem").read_bytes() if mutual else None, mutual)


def test_tls(pki, monkeypatch):
    with FakeServer(credentials=credentials(pki)) as server:
        for ca in (pki / "ca.pem", str(pki / "ca.pem"), (pki / "ca.pem").read_bytes()):
            with Client(server.address, tls_ca=ca) as client:
                assert client.health() == "SERVING"
        with Client(server.address, timeout=5) as plain, pytest.raises(Unavailable):
            plain.restore(b"x")
        with Client(server.address, tls=True, timeout=5) as stranger, pytest.raises(Unavailable):
            stranger.restore(b"x")
        monkeypatch.setenv("DEWEATHER_TLS_CA", str(pki / "ca.pem"))
        with Client(server.address) as client:
            assert client.health() == "SERVING"

        with Client(server.address, tls=False, timeout=5) as plain, pytest.raises(Unavailable):
            plain.restore(b"x")

        async def health():
            async with AsyncClient(server.address) as client:
                return await client.health()

        assert asyncio.run(health()) == "SERVING"


def test_tls_of_both_sides(pki, monkeypatch):
    with FakeServer(credentials=credentials(pki, mutual=True)) as server:
        with Client(server.address, tls_ca=pki / "ca.pem", timeout=5) as client, pytest.raises(Unavailable):
            client.restore(b"x")
        with Client(server.address, tls_ca=pki / "ca.pem", tls_cert=pki / "client.pem",
                    tls_key=(pki / "client.key").read_bytes()) as client:
            assert client.health() == "SERVING"
        for name, file in (("CA", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key")):
            monkeypatch.setenv(f"DEWEATHER_TLS_{name}", str(pki / file))
        with Client(server.address) as client:
            assert client.health() == "SERVING"


def test_wrong_settings_of_tls(pki):
    for wrong in ({"tls_cert": pki / "client.pem"}, {"tls_key": pki / "client.key"}, {"tls": False, "tls_ca": b"x"}):
        with pytest.raises(ValueError):
            Client(**wrong)
    with pytest.raises(FileNotFoundError):
        Client(tls_ca=pki / "none.pem")
    with pytest.raises(ValueError, match="tls_ca '.*server.key' has no certificate in PEM"):
        Client(tls_ca=pki / "server.key")
    with pytest.raises(ValueError, match="tls_key has no private key in PEM"):
        Client(tls_cert=pki / "client.pem", tls_key=b"x")


@pytest.mark.parametrize("name", ["tls_ca", "tls_cert", "tls_key"])
def test_the_text_of_a_key_is_never_told(pki, name):
    """Where a path or bytes belong."""
    given = {"tls_cert": pki / "client.pem", "tls_key": pki / "client.key"}
    given[name] = (pki / "client.key").read_text()
    with pytest.raises(ValueError, match=f"^{name} is the text of a PEM file; give its path, or bytes$"):
        Client(**given)


def test_the_name_of_a_certificate(pki):
    """Of another host it is refused, unless the caller says what name it is for."""
    other = credentials(pki, name="client")
    with FakeServer(credentials=other) as server:
        with Client(server.address, tls_ca=pki / "ca.pem", timeout=5) as client, pytest.raises(Unavailable):
            client.restore(b"x")
        with Client(server.address, tls_ca=pki / "ca.pem", tls_name="client") as client:
            assert client.health() == "SERVING"


def test_tokens_and_request_ids(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("secret\n")
    file.chmod(0o600)
    with FakeServer() as server:
        with Client(server.address) as client:
            restored = client.restore(b"x")
            assert "authorization" not in server.metadata()
            assert server.metadata()["x-request-id"] == restored.request_id
            assert client.restore(b"x", request_id="mine").request_id == server.metadata()["x-request-id"] == "mine"
            assert server.metadata()["user-agent"].startswith("deweather-python/")
        with Client(server.address, token="abc") as client:
            client.health()
            assert server.metadata()["authorization"] == "Bearer abc"
        monkeypatch.setenv("DEWEATHER_TOKEN_FILE", str(file))
        with Client(server.address) as client:
            client.models.get("x")
            assert server.metadata()["authorization"] == "Bearer secret"
            file.write_text("another")  # rotated while the client lives
            client.models.get("x")
            assert server.metadata()["authorization"] == "Bearer another"

        async def call():
            async with AsyncClient(server.address, token_file=file) as client:
                await client.restore(b"x")

        asyncio.run(call())
        assert server.metadata()["authorization"] == "Bearer another"


def test_a_refused_token():
    def refuse(name, request, context):
        fail(context, grpc.StatusCode.UNAUTHENTICATED, "no token", reason="TOKEN_MISSING")

    with FakeServer(refuse) as server, Client(server.address) as client:
        with pytest.raises(Unauthenticated) as caught:
            client.restore(b"x")
    assert caught.value.reason == "TOKEN_MISSING" and len(server.calls) == 1


@pytest.mark.parametrize("address", ["192.0.2.1:1", "example.org:1", "[2001:db8::1]:1"])
def test_a_token_goes_nowhere_in_plaintext(address, pki):
    with pytest.raises(ValueError, match="plaintext") as caught:
        Client(address, token="secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="plaintext"):
        Client(address, token="secret", tls=False)
    Client(address, token="secret", allow_plaintext_token=True).close()
    Client(address, token="secret", tls_ca=pki / "ca.pem").close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1"])
def test_loopback_is_this_machine(address):
    Client(address, token="secret").close()


def test_bad_tokens(tmp_path):
    file = tmp_path / "token"
    for text, says in (("", "0 bytes"), ("\n", "0 bytes"), ("a b", "printable"), ("a\nb", "printable"),
                       ("\u00e9", "printable"), ("x" * 4097, "1 to 4096")):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(ValueError, match=says) as caught:
            Client(token_file=file)
        assert str(file) in str(caught.value)
    with pytest.raises(ValueError, match="printable"):
        Client(token="a\r\nx-other: 1")
    with pytest.raises(ValueError, match="not both"):
        Client(token="a", token_file=file)
    file.write_text("secret")
    file.chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        Client(token_file=file).close()


@pytest.fixture(scope="module")
def guarded(pki):
    """The real server: it shows its certificate, asks callers for theirs, and knows one token."""
    digest = hashlib.sha256(b"infer-token").hexdigest()
    (pki / "tokens.textproto").write_text(f'token {{ name: "camera" sha256: "{digest}" group: GROUP_INFER }}')
    files = f'certificate_file: "{pki}/server.pem" key_file: "{pki}/server.key" client_ca_file: "{pki}/ca.pem"'
    config = f'tls {{ {files} }} access {{ tokens_file: "{pki}/tokens.textproto" }} drain {{ delay {{}} }}'
    with Server("--model", "identity", config=config) as running:
        yield running


def test_the_real_server_knows_who_calls(guarded, pki):
    ours = {"tls_ca": pki / "ca.pem", "tls_cert": pki / "client.pem", "tls_key": pki / "client.key"}
    with Client(guarded.address, token="infer-token", **ours) as client:
        file = encode(noise(20, 10))
        assert client.restore(file).image == client.restore_large(file).image
        assert [frame.number for frame in client.restore_stream([file] * 3)] == [0, 1, 2]
        with pytest.raises(PermissionDenied) as caught:
            client.jobs.list()
        assert caught.value.reason == "WRONG_GROUP" and "infer-token" not in str(caught.value)
        with pytest.raises(NotFound) as caught:
            client.restore(file, model="nobody", request_id="mine")
        assert caught.value.request_id == "mine"
    for token, reason in ((None, "TOKEN_MISSING"), ("another", "TOKEN_UNKNOWN")):
        with Client(guarded.address, token=token, **ours) as client:
            assert client.health() == "SERVING"
            with pytest.raises(Unauthenticated) as caught:
                client.restore(file)
            assert caught.value.reason == reason
    with Client(guarded.address, token="infer-token", tls_ca=pki / "ca.pem", timeout=5) as client:
        with pytest.raises(Unavailable):
            client.restore(file)

    async def restore():
        async with AsyncClient(guarded.address, token="infer-token", **ours) as client:
            return await client.restore(file)

    assert asyncio.run(restore()).model.name == "identity"
