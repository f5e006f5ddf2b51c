"""Where the server is, and how it is reached. Names and defaults are those of the `deweather` command."""

from __future__ import annotations

import ipaddress
import numbers
import os
import re
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Union

import grpc

from deweather_client import checks

File = Union[str, "os.PathLike[str]"]
Pem = Union[bytes, str, "os.PathLike[str]"]

DEFAULT_SERVER = "127.0.0.1:50051"
MAX_TIMEOUT = 24 * 3600.0
MAX_RETRIES = 10
MAX_TOKEN_BYTES = 4096
# Where systems keep their authorities.
_SYSTEM_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                       "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
                       "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")


@dataclass(frozen=True)
class Settings:
    """What every call of a client is made with."""

    server: str
    credentials: grpc.ChannelCredentials | None  # None: plaintext
    tls_name: str  # that the server's certificate is for; "": the host
    token: Callable[[], str]  # asked for each call; "": none
    timeout: float  # seconds, of one call
    retries: int


def make_settings(server: str | None, *, tls: bool | None, tls_ca: Pem | None, tls_cert: Pem | None,
                  tls_key: Pem | None, tls_name: str | None, token: str | None, token_file: File | None,
                  allow_plaintext_token: bool, timeout: float, retries: int) -> Settings:
    """What is not given comes from the environment, as the command has it: DEWEATHER_SERVER and so on."""
    server = checks.text("server", server or os.environ.get("DEWEATHER_SERVER") or DEFAULT_SERVER)
    host = check_address(server)
    if tls is not False:
        tls_ca = tls_ca or os.environ.get("DEWEATHER_TLS_CA") or None
        tls_cert = tls_cert or os.environ.get("DEWEATHER_TLS_CERT") or None
        tls_key = tls_key or os.environ.get("DEWEATHER_TLS_KEY") or None
        tls_name = tls_name or os.environ.get("DEWEATHER_TLS_NAME")
    credentials = _credentials(tls, tls_ca, tls_cert, tls_key, tls_name)
    source = _token_source(token, token_file)
    if source is not None and credentials is None and not allow_plaintext_token and not is_loopback(host):
        raise ValueError(f"a token would go to {server} in plaintext: give tls_ca or tls=True, or say "
                         "allow_plaintext_token=True")
    retries = checks.whole("retries", retries, 0, MAX_RETRIES)
    return Settings(server, credentials, tls_name or "", source or (lambda: ""), checked_timeout(timeout), retries)


def check_address(server: str) -> str:
    """Its host. ValueError unless it is HOST:PORT, an IPv6 host in brackets, a port from 1 to 65535."""
    found = re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\] ]+):([0-9]{1,5})", server)
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise ValueError(f"'{server}' is no HOST:PORT with a port from 1 to 65535")
    return found[1].strip("[]")


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_timeout(timeout: float) -> float:
    if not isinstance(timeout, numbers.Real):
        raise TypeError(f"timeout is {timeout!r}; it must be a number of seconds")
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout is {timeout} s; it must be above 0 and at most {MAX_TIMEOUT:.0f}")
    return float(timeout)


def _credentials(tls: bool | None, ca: Pem | None, cert: Pem | None, key: Pem | None,
                 name: str | None) -> grpc.ChannelCredentials | None:
    for named, value in (("tls_ca", ca), ("tls_cert", cert), ("tls_key", key)):
        if isinstance(value, str) and "-----BEGIN" in value:
            raise ValueError(f"{named} is the text of a PEM file; give its path, or bytes")  # nothing of it is told
    if (cert is None) != (key is None):
        raise ValueError("tls_cert and tls_key go together: one is missing")
    given = bool(ca or cert or name)
    if tls is False and given:
        raise ValueError("tls=False goes without tls_ca, tls_cert, tls_key and tls_name")
    if not (tls or given):
        return None
    roots = _pem("tls_ca", ca or _system_authorities(), b"CERTIFICATE")
    if cert is None or key is None:
        return grpc.ssl_channel_credentials(roots)
    if not isinstance(key, bytes):
        _warn_if_others_read(os.fspath(key))
    return grpc.ssl_channel_credentials(roots, _pem("tls_key", key, b"PRIVATE KEY"),
                                        _pem("tls_cert", cert, b"CERTIFICATE"))


def _pem(name: str, value: Pem, holds: bytes) -> bytes:
    data = value
    if not isinstance(data, bytes):
        with open(data, "rb") as file:
            data = file.read()
    if not re.search(rb"-----BEGIN [A-Z ]*" + holds + b"-----", data):
        where = f" '{os.fspath(value)}'" if not isinstance(value, bytes) else ""
        raise ValueError(f"{name}{where} has no {holds.decode().lower()} in PEM")
    return data


def _system_authorities() -> str:
    found = [path for path in (os.environ.get("SSL_CERT_FILE"), *_SYSTEM_AUTHORITIES) if path and os.path.exists(path)]
    if not found:
        raise ValueError("this machine has no list of authorities; tls_ca names them")
    return found[0]


def _warn_if_others_read(path: str) -> None:
    about = os.stat(path)
    if stat.S_ISREG(about.st_mode) and about.st_mode & stat.S_IROTH:
        warnings.warn(f"every user of this machine may read {path}; chmod 600 is safe", stacklevel=6)


def _token_source(token: str | None, token_file: File | None) -> Callable[[], str] | None:
    if token is not None and token_file is not None:
        raise ValueError("either token or token_file, not both")
    if token is not None:
        checked = _checked_token(token, "token")
        return lambda: checked
    token_file = token_file or os.environ.get("DEWEATHER_TOKEN_FILE")
    if not token_file:
        return None
    path = os.fspath(token_file)
    _read_token(path)
    _warn_if_others_read(path)
    return lambda: _read_token(path)  # a new one may be put there at any time


def _read_token(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read(MAX_TOKEN_BYTES + 2)
    return _checked_token(data.rstrip(b"\r\n").decode("ascii", "replace"), path)


def _checked_token(token: str, where: str) -> str:
    """The message never holds the token."""
    if not 0 < len(token) <= MAX_TOKEN_BYTES:
        raise ValueError(f"{where} holds {len(token)} bytes; a token has 1 to {MAX_TOKEN_BYTES}")
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(f"{where} holds what is no printable ASCII, or a space")
    return token
