"""What the calls about jobs and models are made of, the same for both clients."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Union

from google.protobuf import json_format, text_format

from deweather_client import checks
from deweather_client.v1 import model_pb2, train_config_pb2, training_pb2

Config = Union[str, "os.PathLike[str]", Mapping[str, Any], train_config_pb2.TrainConfig]
MAX_PAGE = 1000
MAX_PRIORITY = 100
ENDED = (training_pb2.Job.STATE_SUCCEEDED, training_pb2.Job.STATE_FAILED, training_pb2.Job.STATE_CANCELLED)


def train_config(config: Config) -> train_config_pb2.TrainConfig:
    """Text is text format, a path names a file of that, a mapping has the fields by name. ValueError: none fits."""
    if isinstance(config, train_config_pb2.TrainConfig):
        return config
    proto = train_config_pb2.TrainConfig()
    try:
        if isinstance(config, Mapping):
            json_format.ParseDict(dict(config), proto)
        elif isinstance(config, str):
            text_format.Parse(config, proto)
        else:
            with open(config, encoding="utf-8") as file:
                text_format.Parse(file.read(), proto)
    except (text_format.ParseError, json_format.ParseError) as error:
        where = f"{os.fspath(config)}:" if isinstance(config, os.PathLike) else ""
        raise ValueError(f"no configuration of a run: {where}{error}") from None
    return proto


def submission(config: Config, labels: Mapping[str, str] | None, priority: int, request_id: str | None,
               validate_only: bool) -> training_pb2.SubmitJobRequest:
    priority = checks.whole("priority", priority, -MAX_PRIORITY, MAX_PRIORITY)
    return training_pb2.SubmitJobRequest(config=train_config(config), labels=checks.labels(labels), priority=priority,
                                         request_id=request_id or new_request_id(), validate_only=validate_only)


def new_request_id() -> str:
    return f"python-{uuid.uuid4().hex}"


def listing(states: Iterable[str], labels: Mapping[str, str] | None, model: str,
            limit: int) -> training_pb2.ListJobsRequest:
    limit = checks.whole("limit", limit, 0, 2**31 - 1)
    page = MAX_PAGE if limit == 0 else min(limit, MAX_PAGE)
    return training_pb2.ListJobsRequest(page_size=page, states=[state_of(word) for word in states],
                                        labels=checks.labels(labels), model=model)


def state_of(word: str) -> training_pb2.Job.State.ValueType:
    """Of "running"."""
    states = dict(training_pb2.Job.State.items())
    del states["STATE_UNSPECIFIED"]
    state = states.get(f"STATE_{word.upper()}")
    if state is None:
        words = ", ".join(name.removeprefix("STATE_").lower() for name in states)
        raise ValueError(f"state is '{word}'; it must be one of {words}")
    return state


def state_name(job: training_pb2.Job) -> str:
    """ "RUNNING"."""
    return training_pb2.Job.State.Name(job.state).removeprefix("STATE_")


def promotion(name: str | None, version: str | None, job: str | None, canary_percent: float | None,
              evaluate: str | None, max_regression_db: float | None) -> model_pb2.PromoteModelRequest:
    if (version is None) == (job is None):
        raise ValueError("either name and version, or job, say what to promote")
    if job is not None and name is not None:
        raise ValueError("a job knows the name of its model: job goes without name")
    if canary_percent is not None and not 0 < canary_percent < 100:
        raise ValueError(f"canary_percent is {canary_percent}; it must be above 0 and below 100")
    if max_regression_db is not None and not evaluate:
        raise ValueError("max_regression_db needs evaluate")
    request = model_pb2.PromoteModelRequest(name=name or "", canary_percent=canary_percent or 0)
    if version is not None:
        request.version = version
    if job is not None:
        request.job = job
    if evaluate is not None:
        request.evaluation.dataset = evaluate
    if max_regression_db is not None:
        request.evaluation.max_regression_db = max_regression_db
    return request
