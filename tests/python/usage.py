"""How the package is used, for mypy --strict: what is called here has these types. Nothing runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import assert_type

from deweather_client import AsyncClient, Client, Frame, NotFound, Restored
from deweather_client.v1.model_pb2 import Model
from deweather_client.v1.training_pb2 import Job, JobEvent


def frames() -> Iterator[NDArray[np.uint8]]:
    yield np.zeros((4, 4), np.uint8)


async def later() -> AsyncIterator[bytes]:
    yield b""


def wait(client: Client) -> None:
    assert_type(client.restore(b""), Restored[bytes])
    assert_type(client.restore(Path("in.png")), Restored[bytes])
    assert_type(client.restore("in.png", format="png", quality=3, strength=0.5), Restored[bytes])
    assert_type(client.restore(bytearray(b"")), Restored[bytes])
    assert_type(client.restore(memoryview(b"")), Restored[bytes])
    assert_type(next(client.restore_stream(["in.png", b"", Path("in.png")])), Frame[bytes])
    assert_type(next(client.restore_stream([Image.new("L", (1, 1))])), Frame[Image.Image])
    assert_type(client.restore(Image.new("L", (1, 1))).picture, Image.Image)
    array: NDArray[Any] = client.restore(np.zeros((4, 4), np.uint8)).picture
    for frame in client.restore_stream(frames(), window=2, model="rain"):
        array = frame.get().picture
    assert_type(client.restore_large(b"", on_progress=lambda done, tiles: print(done / tiles)), Restored[bytes])
    assert_type(client.models.get("rain"), Model)
    assert_type(client.jobs.list(states=["running"]), list[Job])
    for event in client.jobs.watch("id"):
        assert_type(event, JobEvent)
    try:
        client.jobs.get("id")
    except NotFound as error:
        print(error.reason.lower(), error.retry_delay or 0.0, array)


async def run() -> None:
    async with AsyncClient(token="x", tls=True) as client:
        both = await asyncio.gather(client.restore(b""), client.restore("in.png"))
        assert_type(both[0], Restored[bytes])
        async for frame in client.restore_stream(later()):
            assert_type(frame, Frame[bytes])
        assert_type(await client.jobs.submit("steps: 1"), Job)
        async for event in client.jobs.watch("id"):
            assert_type(event, JobEvent)
