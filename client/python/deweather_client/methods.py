"""The methods of the server: the one list of them, and which may be sent twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from deweather_client import wire_pb2 as wire
from deweather_client.v1 import model_pb2 as model
from deweather_client.v1 import restoration_pb2 as restoration
from deweather_client.v1 import training_pb2 as training

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Request, Reply]):
    """One method. `repeatable`: the same call twice does what it does once, so that gRPC may send it again."""

    service: str
    name: str
    request: type[Request]
    reply: type[Reply]
    repeatable: bool = False

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


_RESTORATION = "deweather.v1.RestorationService"
_MODEL = "deweather.v1.ModelService"
_TRAINING = "deweather.v1.TrainingService"

# Pictures are sent again by rules of their own: attempts.py.
RESTORE = Method(_RESTORATION, "Restore", restoration.RestoreRequest, restoration.RestoreResponse)
RESTORE_LARGE = Method(_RESTORATION, "RestoreLarge", restoration.RestoreLargeRequest,
                       restoration.RestoreLargeResponse)
RESTORE_STREAM = Method(_RESTORATION, "RestoreStream", restoration.RestoreStreamRequest,
                        restoration.RestoreStreamResponse)

LIST_MODELS = Method(_MODEL, "ListModels", model.ListModelsRequest, model.ListModelsResponse, repeatable=True)
GET_MODEL = Method(_MODEL, "GetModel", model.GetModelRequest, model.Model, repeatable=True)
PROMOTE_MODEL = Method(_MODEL, "PromoteModel", model.PromoteModelRequest, model.Model)
ROLLBACK_MODEL = Method(_MODEL, "RollbackModel", model.RollbackModelRequest, model.Model)
DELETE_VERSION = Method(_MODEL, "DeleteVersion", model.DeleteVersionRequest, model.DeleteVersionResponse)
IMPORT_MODEL = Method(_MODEL, "ImportModel", model.ImportModelRequest, model.ImportModelResponse)

# A request_id makes the second one the same job.
SUBMIT_JOB = Method(_TRAINING, "SubmitJob", training.SubmitJobRequest, training.Job, repeatable=True)
RESUME_JOB = Method(_TRAINING, "ResumeJob", training.ResumeJobRequest, training.Job, repeatable=True)
GET_JOB = Method(_TRAINING, "GetJob", training.GetJobRequest, training.Job, repeatable=True)
LIST_JOBS = Method(_TRAINING, "ListJobs", training.ListJobsRequest, training.ListJobsResponse, repeatable=True)
WATCH_JOB = Method(_TRAINING, "WatchJob", training.WatchJobRequest, training.JobEvent)
STREAM_LOGS = Method(_TRAINING, "StreamLogs", training.StreamLogsRequest, training.LogChunk)
CANCEL_JOB = Method(_TRAINING, "CancelJob", training.CancelJobRequest, training.Job)
DELETE_JOB = Method(_TRAINING, "DeleteJob", training.DeleteJobRequest, training.DeleteJobResponse)
LIST_CHECKPOINTS = Method(_TRAINING, "ListCheckpoints", training.ListCheckpointsRequest,
                          training.ListCheckpointsResponse, repeatable=True)
DOWNLOAD_ARTIFACT = Method(_TRAINING, "DownloadArtifact", training.DownloadArtifactRequest, training.ArtifactChunk)
LIST_DATASETS = Method(_TRAINING, "ListDatasets", training.ListDatasetsRequest, training.ListDatasetsResponse,
                       repeatable=True)
UPLOAD_DATASET = Method(_TRAINING, "UploadDataset", training.UploadDatasetRequest, training.Dataset)

CHECK_HEALTH = Method("grpc.health.v1.Health", "Check", wire.HealthCheckRequest, wire.HealthCheckResponse,
                      repeatable=True)

REPEATABLE = tuple(method for method in list(globals().values()) if isinstance(method, Method) and method.repeatable)
