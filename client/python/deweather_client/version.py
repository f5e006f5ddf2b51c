"""Which version of the package this is."""

from __future__ import annotations

from importlib import metadata


def _version() -> str:
    try:
        return metadata.version("deweather-client")
    except metadata.PackageNotFoundError:  # used where it lies, not installed
        return "unknown"


VERSION = _version()
USER_AGENT = f"deweather-python/{VERSION}"
