"""Certificates for one test, made while it runs by the openssl command."""

import pathlib
import shutil
import subprocess

from harness import grpc, skip

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Signs certificates; all files lie in `folder`, its own is `file`."""

    def __init__(self, folder, name="authority"):
        if shutil.which("openssl") is None:
            skip("no openssl command")
        self.folder, self.name = pathlib.Path(folder), name
        self.file = self.folder / f"{name}.pem"
        self._run("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                  "-keyout", self.folder / f"{name}.key", "-out", self.file)

    def sign(self, name="server", days=30):
        """Paths of a certificate for this machine, and of its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._run("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                  "-addext", "basicConstraints=critical,CA:FALSE",
                  "-CA", self.file, "-CAkey", self.folder / f"{self.name}.key",
                  "-days", str(days), "-keyout", key, "-out", certificate)
        key.chmod(0o600)
        return certificate, key

    def trusted(self, certificate=None, key=None):
        """Credentials of a caller who trusts it, and has that certificate."""
        return grpc.ssl_channel_credentials(
            self.file.read_bytes(), key and key.read_bytes(), certificate and certificate.read_bytes())

    @staticmethod
    def _run(*args):
        subprocess.run(["openssl", "req", "-x509", *CURVE, *map(str, args)], check=True,
                       capture_output=True)
