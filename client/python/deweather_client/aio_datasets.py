"""What jobs learn from, awaited. datasets.py is its twin, and says what everything means."""

from __future__ import annotations

import asyncio
import os
from typing import List

from deweather_client.aio_connection import AsyncConnection
from deweather_client.chunks import plan_dataset, upload_requests
from deweather_client.job_requests import MAX_PAGE
from deweather_client.methods import LIST_DATASETS, UPLOAD_DATASET
from deweather_client.v1.training_pb2 import Dataset, ListDatasetsRequest


class AsyncDatasets:
    """`AsyncClient.datasets`: as Datasets.

    Threads  one event loop
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list(self, *, timeout: float | None = None) -> List[Dataset]:
        request = ListDatasetsRequest(page_size=MAX_PAGE)
        datasets: List[Dataset] = []
        while True:
            reply = await self._connection.call(LIST_DATASETS, request, timeout)
            datasets.extend(reply.datasets)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return datasets

    async def upload(self, name: str, folder: str | os.PathLike[str], *, kind: str | None = None,
                     timeout: float = 3600.0) -> Dataset:
        plan = await asyncio.to_thread(plan_dataset, folder, kind)
        return await self._connection.send(UPLOAD_DATASET, upload_requests(name, plan), timeout)
