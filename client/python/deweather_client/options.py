"""What to do with a picture, and what to tell about it: RestoreOptions of the API, in Python's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, TypeVar

from deweather_client import checks
from deweather_client.v1 import restoration_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

Proto = restoration_pb2.RestoreOptions
T = TypeVar("T")

FORMATS = {"jpeg": Proto.FORMAT_JPEG, "png": Proto.FORMAT_PNG, "webp": Proto.FORMAT_WEBP, "tiff": Proto.FORMAT_TIFF,
           "bmp": Proto.FORMAT_BMP}
# Of names of files.
SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff",
            ".bmp": "bmp"}
METADATA = {"preserve": Proto.METADATA_POLICY_PRESERVE, "strip": Proto.METADATA_POLICY_STRIP}
PRIORITIES = {"normal": Proto.PRIORITY_NORMAL, "background": Proto.PRIORITY_BACKGROUND}


class Options(TypedDict, total=False):
    """All may be left out.

    model            name of a live model; default: the server's
    format           "jpeg", "png", "webp", "tiff" or "bmp"; default: that of the picture
    quality          of a JPEG or WebP, 1 to 100; default: as the input's
    strength         share of the change, 0 to 1; default: 1
    task             of a model with a gate for each task: one of them
    metadata         EXIF and colour profile: "preserve" (default) or "strip"
    priority         "normal" (default), or "background": after what others wait for
    expert_map       whether to tell every token's heaviest expert; default: False
    uncertainty_map  whether to tell how uncertain the router is; default: False
    seed             of the uncertainty's random passes, 0 to 2^64 - 1; default: 0
    """

    model: str | None
    format: str | None
    quality: int | None
    strength: float | None
    task: str | None
    metadata: str
    priority: str
    expert_map: bool
    uncertainty_map: bool
    seed: int


def restore_options(**options: Unpack[Options]) -> Proto:
    """ValueError, TypeError: an option out of its range, or of another kind."""
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise TypeError(f"no option {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}")
    proto = Proto()
    for name in ("model", "task"):
        setattr(proto, name, checks.text(name, options.get(name) or ""))
    for name in ("expert_map", "uncertainty_map"):
        setattr(proto, name, checks.flag(name, options.get(name, False)))
    if (word := options.get("format")) is not None:
        proto.format = _one_of("format", FORMATS, SUFFIXES.get(f".{word}", word))
    if (quality := options.get("quality")) is not None:
        proto.quality = checks.whole("quality", quality, 1, 100)
    if (strength := options.get("strength")) is not None:
        proto.strength = checks.number("strength", strength, 0, 1)
    proto.metadata_policy = _one_of("metadata", METADATA, options.get("metadata", "preserve"))
    proto.priority = _one_of("priority", PRIORITIES, options.get("priority", "normal"))
    proto.seed = checks.whole("seed", options.get("seed", 0), 0, 2**64 - 1)
    return proto


def format_name(value: Proto.Format.ValueType) -> str:
    """ "png"."""
    return Proto.Format.Name(value).removeprefix("FORMAT_").lower()


def _one_of(name: str, words: dict[str, T], word: str) -> T:
    if checks.text(name, word) not in words:
        raise ValueError(f"{name} is '{word}'; it must be one of {', '.join(words)}")
    return words[word]
