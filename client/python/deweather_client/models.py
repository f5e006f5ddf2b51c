"""Models of the server: which versions there are, and which one is live."""

from __future__ import annotations

import os
from typing import List

from deweather_client.chunks import import_requests
from deweather_client.connection import Connection
from deweather_client.job_requests import MAX_PAGE, promotion
from deweather_client.methods import (DELETE_VERSION, GET_MODEL, IMPORT_MODEL, LIST_MODELS, PROMOTE_MODEL,
                                      ROLLBACK_MODEL)
from deweather_client.v1.model_pb2 import (DeleteVersionRequest, GetModelRequest, ImportModelResponse,
                                           ListModelsRequest, Model, RollbackModelRequest)


class Models:
    """`Client.models`. What comes back are the API's own messages: deweather_client.v1.model_pb2.

    Threads  thread-safe
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, timeout: float | None = None) -> List[Model]:
        """Those that are live or stored, by name."""
        request = ListModelsRequest(page_size=MAX_PAGE)
        models: List[Model] = []
        while True:
            reply = self._connection.call(LIST_MODELS, request, timeout)
            models.extend(reply.models)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return models

    def get(self, name: str, *, timeout: float | None = None) -> Model:
        return self._connection.call(GET_MODEL, GetModelRequest(name=name), timeout)

    def promote(self, name: str | None = None, version: str | None = None, *, job: str | None = None,
                canary_percent: float | None = None, evaluate: str | None = None,
                max_regression_db: float | None = None, timeout: float = 35 * 60.0) -> Model:
        """Makes a stored version live, or what a training job made.

        canary_percent     above 0, below 100: on trial, for this share of the requests
        evaluate           a data set of pairs: measured first, a regression is refused; "": nothing is measured;
                           default: as the server is configured
        max_regression_db  that is borne, PSNR

        A promotion goes on after a timeout: `get` shows what is live.
        """
        request = promotion(name, version, job, canary_percent, evaluate, max_regression_db)
        return self._connection.call(PROMOTE_MODEL, request, timeout)

    def rollback(self, name: str, *, timeout: float = 5 * 60.0) -> Model:
        """Ends a trial, or makes the version live that was live before."""
        return self._connection.call(ROLLBACK_MODEL, RollbackModelRequest(name=name), timeout)

    def delete(self, name: str, version: str, *, timeout: float | None = None) -> None:
        """Deletes a version that is not live, on trial or what a rollback goes to."""
        self._connection.call(DELETE_VERSION, DeleteVersionRequest(name=name, version=version), timeout)

    def import_file(self, path: str | os.PathLike[str], *, name: str = "", origin: str | None = None,
                    timeout: float = 10 * 60.0) -> ImportModelResponse:
        """Stores a checkpoint as a version, not live. The name is the file's own unless given."""
        return self._connection.send(IMPORT_MODEL, import_requests(path, name, origin), timeout)
