"""What jobs learn from."""

from __future__ import annotations

import os
from typing import List

from deweather_client.chunks import plan_dataset, upload_requests
from deweather_client.connection import Connection
from deweather_client.job_requests import MAX_PAGE
from deweather_client.methods import LIST_DATASETS, UPLOAD_DATASET
from deweather_client.v1.training_pb2 import Dataset, ListDatasetsRequest


class Datasets:
    """`Client.datasets`. What comes back are the API's own messages: deweather_client.v1.training_pb2.

    Threads  thread-safe
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, timeout: float | None = None) -> List[Dataset]:
        """By name."""
        request = ListDatasetsRequest(page_size=MAX_PAGE)
        datasets: List[Dataset] = []
        while True:
            reply = self._connection.call(LIST_DATASETS, request, timeout)
            datasets.extend(reply.datasets)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return datasets

    def upload(self, name: str, folder: str | os.PathLike[str], *, kind: str | None = None,
               timeout: float = 3600.0) -> Dataset:
        """Stores a folder: pictures, or input/ and gt/ with pictures.

        kind  "clean" or "pairs"; default: pairs if there are input/ and gt/
        """
        return self._connection.send(UPLOAD_DATASET, upload_requests(name, plan_dataset(folder, kind)), timeout)
