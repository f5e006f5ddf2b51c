"""Models of the server, awaited. models.py is its twin, and says what everything means."""

from __future__ import annotations

import os
from typing import List

from deweather_client.aio_connection import AsyncConnection
from deweather_client.chunks import import_requests
from deweather_client.job_requests import MAX_PAGE, promotion
from deweather_client.methods import (DELETE_VERSION, GET_MODEL, IMPORT_MODEL, LIST_MODELS, PROMOTE_MODEL,
                                      ROLLBACK_MODEL)
from deweather_client.v1.model_pb2 import (DeleteVersionRequest, GetModelRequest, ImportModelResponse,
                                           ListModelsRequest, Model, RollbackModelRequest)


class AsyncModels:
    """`AsyncClient.models`: as Models.

    Threads  one event loop
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list(self, *, timeout: float | None = None) -> List[Model]:
        request = ListModelsRequest(page_size=MAX_PAGE)
        models: List[Model] = []
        while True:
            reply = await self._connection.call(LIST_MODELS, request, timeout)
            models.extend(reply.models)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return models

    async def get(self, name: str, *, timeout: float | None = None) -> Model:
        return await self._connection.call(GET_MODEL, GetModelRequest(name=name), timeout)

    async def promote(self, name: str | None = None, version: str | None = None, *, job: str | None = None,
                      canary_percent: float | None = None, evaluate: str | None = None,
                      max_regression_db: float | None = None, timeout: float = 35 * 60.0) -> Model:
        request = promotion(name, version, job, canary_percent, evaluate, max_regression_db)
        return await self._connection.call(PROMOTE_MODEL, request, timeout)

    async def rollback(self, name: str, *, timeout: float = 5 * 60.0) -> Model:
        return await self._connection.call(ROLLBACK_MODEL, RollbackModelRequest(name=name), timeout)

    async def delete(self, name: str, version: str, *, timeout: float | None = None) -> None:
        await self._connection.call(DELETE_VERSION, DeleteVersionRequest(name=name, version=version), timeout)

    async def import_file(self, path: str | os.PathLike[str], *, name: str = "", origin: str | None = None,
                          timeout: float = 10 * 60.0) -> ImportModelResponse:
        return await self._connection.send(IMPORT_MODEL, import_requests(path, name, origin), timeout)
