#include "server/rpc/training_convert.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "proto/config/job_config.h"
#include "server/rpc/wire_time.h"

namespace deweather {
namespace {

v1::Job::State ToMessage(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return v1::Job::STATE_QUEUED;
    case JobState::kRunning:
      return v1::Job::STATE_RUNNING;
    case JobState::kCancelling:
      return v1::Job::STATE_CANCELLING;
    case JobState::kSucceeded:
      return v1::Job::STATE_SUCCEEDED;
    case JobState::kFailed:
      return v1::Job::STATE_FAILED;
    case JobState::kCancelled:
      return v1::Job::STATE_CANCELLED;
  }
  return v1::Job::STATE_UNSPECIFIED;
}

v1::Artifact::Kind ToMessage(ArtifactKind kind) {
  switch (kind) {
    case ArtifactKind::kOther:
      return v1::Artifact::KIND_UNSPECIFIED;
    case ArtifactKind::kCheckpoint:
      return v1::Artifact::KIND_CHECKPOINT;
    case ArtifactKind::kModel:
      return v1::Artifact::KIND_MODEL;
    case ArtifactKind::kLog:
      return v1::Artifact::KIND_LOG;
    case ArtifactKind::kPicture:
      return v1::Artifact::KIND_PICTURE;
    case ArtifactKind::kConfig:
      return v1::Artifact::KIND_CONFIG;
  }
  return v1::Artifact::KIND_UNSPECIFIED;
}

void Fill(const NewJob& submitted, v1::Job* job) {
  job->set_model(submitted.model);
  absl::StatusOr<v1::TrainConfig> config = ParseJobConfig(submitted.config, "config");
  if (config.ok()) *job->mutable_config() = *std::move(config);
  job->mutable_labels()->insert(submitted.labels.begin(), submitted.labels.end());
  job->set_priority(submitted.priority);
  job->set_resumed_from(submitted.resumed_from);
}

void Fill(const JobProgress& progress, v1::JobProgress* message) {
  message->set_step(progress.step);
  message->set_steps(progress.steps);
  message->set_loss(progress.loss);
  message->mutable_terms()->insert(progress.terms.begin(), progress.terms.end());
  message->set_images_per_second(progress.images_per_second);
  message->set_learning_rate(progress.learning_rate);
  message->set_bad_steps(progress.bad_steps);
  if (progress.remaining) SetDuration(*progress.remaining, message->mutable_remaining());
}

void Fill(const JobEvaluation& evaluation, v1::JobEvaluation* message) {
  message->set_step(evaluation.step);
  message->mutable_figures()->insert(evaluation.figures.begin(), evaluation.figures.end());
}

void FillTimes(const Job& job, v1::Job* message) {
  if (job.create_time != absl::InfinitePast()) {
    SetTime(job.create_time, message->mutable_create_time());
  }
  if (job.start_time) SetTime(*job.start_time, message->mutable_start_time());
  if (job.end_time) SetTime(*job.end_time, message->mutable_end_time());
  if (job.retry_time) SetTime(*job.retry_time, message->mutable_retry_time());
}

void Fill(const JobEvent& event, v1::JobEvent::StateChange* change) {
  change->set_state(ToMessage(event.state));
  change->set_reason(event.text);
  change->set_attempt(event.attempt);
}

}  // namespace

v1::Job ToMessage(const Job& job) {
  v1::Job message;
  message.set_id(job.id);
  Fill(job.submitted, &message);
  message.set_state(ToMessage(job.state));
  message.set_reason(job.reason);
  FillTimes(job, &message);
  message.set_attempts(job.attempts);
  message.set_failures(job.failures);
  if (job.progress) Fill(*job.progress, message.mutable_progress());
  if (job.evaluation) Fill(*job.evaluation, message.mutable_evaluation());
  message.set_model_version(job.model_version);
  message.set_last_event(job.last_event);
  message.set_disk_bytes(job.disk_bytes);
  message.set_trace_parent(job.submitted.trace_parent);
  return message;
}

v1::JobEvent ToMessage(const JobEvent& event) {
  v1::JobEvent message;
  message.set_number(event.number);
  SetTime(event.time, message.mutable_time());
  switch (event.kind) {
    case JobEventKind::kState:
      Fill(event, message.mutable_state_change());
      break;
    case JobEventKind::kProgress:
      Fill(event.progress, message.mutable_progress());
      break;
    case JobEventKind::kEvaluation:
      Fill(event.evaluation, message.mutable_evaluation());
      break;
    case JobEventKind::kCheckpoint:
      message.mutable_checkpoint()->set_step(event.step);
      break;
    case JobEventKind::kWarning:
      message.set_warning(event.text);
      break;
  }
  return message;
}

v1::Artifact ToMessage(const Artifact& artifact) {
  v1::Artifact message;
  message.set_name(artifact.name);
  message.set_kind(ToMessage(artifact.kind));
  message.set_bytes(artifact.bytes);
  SetTime(artifact.update_time, message.mutable_update_time());
  message.set_step(artifact.step.value_or(0));
  return message;
}

v1::Dataset ToMessage(const Dataset& dataset) {
  v1::Dataset message;
  message.set_name(dataset.name);
  message.set_kind(dataset.kind == DatasetKind::kPairs ? v1::Dataset::KIND_PAIRS
                                                       : v1::Dataset::KIND_CLEAN);
  message.set_pictures(dataset.pictures);
  message.set_bytes(dataset.bytes);
  message.set_registered(dataset.registered);
  if (dataset.create_time) SetTime(*dataset.create_time, message.mutable_create_time());
  message.set_problem(dataset.problem);
  return message;
}

absl::StatusOr<JobState> ToState(v1::Job::State state) {
  for (const JobState one : kJobStates) {
    if (ToMessage(one) == state) return one;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("states holds %d, which is no state of a job", state));
}

absl::StatusOr<DatasetKind> ToKind(v1::Dataset::Kind kind) {
  if (kind == v1::Dataset::KIND_PAIRS) return DatasetKind::kPairs;
  if (kind == v1::Dataset::KIND_CLEAN) return DatasetKind::kClean;
  return absl::InvalidArgumentError(
      absl::StrFormat("start.kind is %d; it must be KIND_PAIRS or KIND_CLEAN", kind));
}

absl::StatusOr<JobQuery> ToQuery(const v1::ListJobsRequest& request) {
  JobQuery query{.labels = {request.labels().begin(), request.labels().end()},
                 .model = request.model()};
  for (const int state : request.states()) {
    DW_ASSIGN_OR_RETURN(const JobState one, ToState(static_cast<v1::Job::State>(state)));
    query.states.push_back(one);
  }
  return query;
}

}  // namespace deweather
