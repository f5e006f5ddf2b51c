#include "client/cpp/convert.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "client/cpp/link.h"

namespace deweather {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr size_t kMaxPage = 1000;

nanoseconds ToNanoseconds(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + nanoseconds(duration.nanos());
}

Time ToTime(const google::protobuf::Timestamp& time) {
  const auto since_1970 = std::chrono::seconds(time.seconds()) + nanoseconds(time.nanos());
  return Time(std::chrono::duration_cast<Time::duration>(since_1970));
}

template <typename Repeated>
auto ToVector(const Repeated& repeated) {
  return std::vector<typename Repeated::value_type>(repeated.begin(), repeated.end());
}

template <typename Map>
std::map<std::string, typename Map::mapped_type> ToMap(const Map& map) {
  return {map.begin(), map.end()};
}

Routing ToRouting(const v1::Routing& message) {
  Routing routing;
  routing.by_image = message.unit() == v1::Routing::UNIT_IMAGE;
  routing.units = message.units();
  routing.kept = message.kept();
  routing.unit_px = message.unit_px();
  for (const v1::Routing::Layer& layer : message.layers()) {
    routing.layers.push_back({ToVector(layer.tokens()), ToVector(layer.gate()),
                              layer.entropy_ratio(), layer.uncertainty()});
  }
  return routing;
}

Timings ToTimings(const v1::Timings& message) {
  Timings timings;
  timings.decode = ToNanoseconds(message.decode());
  timings.queue = ToNanoseconds(message.queue());
  timings.infer = ToNanoseconds(message.infer());
  timings.blend = ToNanoseconds(message.blend());
  timings.encode = ToNanoseconds(message.encode());
  timings.total = ToNanoseconds(message.total());
  timings.tiles = message.tiles();
  timings.batches = message.batches();
  return timings;
}

JobProgress ToProgress(const v1::JobProgress& message) {
  JobProgress progress;
  progress.step = message.step();
  progress.steps = message.steps();
  progress.loss = message.loss();
  progress.terms = ToMap(message.terms());
  progress.images_per_second = message.images_per_second();
  progress.learning_rate = message.learning_rate();
  if (message.has_remaining()) {
    progress.remaining =
        std::chrono::duration_cast<milliseconds>(ToNanoseconds(message.remaining()));
  }
  return progress;
}

JobEvaluation ToEvaluation(const v1::JobEvaluation& message) {
  return {message.step(), ToMap(message.figures())};
}

}  // namespace

v1::RestoreOptions ToMessage(const RestoreOptions& options) {
  CheckText("model", options.model);
  CheckText("task", options.task);
  v1::RestoreOptions message;
  message.set_model(options.model);
  message.set_format(static_cast<v1::RestoreOptions::Format>(options.format));
  message.set_quality(options.quality);
  message.set_metadata_policy(options.strip_metadata
                                  ? v1::RestoreOptions::METADATA_POLICY_STRIP
                                  : v1::RestoreOptions::METADATA_POLICY_PRESERVE);
  if (options.strength) message.set_strength(*options.strength);
  message.set_task(options.task);
  message.set_priority(options.background ? v1::RestoreOptions::PRIORITY_BACKGROUND
                                          : v1::RestoreOptions::PRIORITY_NORMAL);
  message.set_expert_map(options.expert_map);
  message.set_uncertainty_map(options.uncertainty_map);
  message.set_seed(options.seed);
  return message;
}

v1::PromoteModelRequest ToMessage(const Promotion& promotion) {
  CheckText("Promotion::name", promotion.name);
  CheckText("Promotion::version", promotion.version);
  CheckText("Promotion::job", promotion.job);
  CheckText("Promotion::evaluate", promotion.evaluate.value_or(""));
  v1::PromoteModelRequest message;
  message.set_name(promotion.name);
  if (!promotion.version.empty()) message.set_version(promotion.version);
  if (!promotion.job.empty()) message.set_job(promotion.job);
  message.set_canary_percent(promotion.canary_percent);
  if (promotion.evaluate) message.mutable_evaluation()->set_dataset(*promotion.evaluate);
  if (promotion.max_regression_db) {
    message.mutable_evaluation()->set_max_regression_db(*promotion.max_regression_db);
  }
  return message;
}

v1::ListJobsRequest ToMessage(const JobFilter& filter) {
  CheckText("JobFilter::model", filter.model);
  CheckLabels(filter.labels);
  v1::ListJobsRequest message;
  const size_t page = filter.limit == 0 ? kMaxPage : std::min(filter.limit, kMaxPage);
  message.set_page_size(static_cast<int32_t>(page));
  for (const JobState state : filter.states) {
    message.add_states(static_cast<v1::Job::State>(state));
  }
  message.mutable_labels()->insert(filter.labels.begin(), filter.labels.end());
  message.set_model(filter.model);
  return message;
}

Restored ToRestored(v1::RestoreResponse&& response, const std::string& request_id) {
  Restored restored;
  restored.image = std::move(*response.mutable_image());
  restored.format = static_cast<Format>(response.format());
  restored.width_px = response.width_px();
  restored.height_px = response.height_px();
  restored.model = {response.model().name(), response.model().version()};
  if (response.has_routing()) restored.routing = ToRouting(response.routing());
  restored.timings = ToTimings(response.timings());
  restored.expert_map = std::move(*response.mutable_expert_map());
  restored.uncertainty_map = std::move(*response.mutable_uncertainty_map());
  restored.request_id = request_id;
  return restored;
}

FrameResult ToFrameResult(v1::RestoreStreamResponse&& response, const std::string& request_id) {
  FrameResult result;
  result.id = response.id();
  if (response.has_restored()) {
    result.restored = ToRestored(std::move(*response.mutable_restored()), request_id);
  } else if (response.has_error()) {
    const v1::FrameError& error = response.error();
    result.error.emplace(
        static_cast<ErrorCode>(error.code()), error.message(), error.reason(),
        std::chrono::duration_cast<milliseconds>(ToNanoseconds(error.retry_delay())), request_id);
  }
  return result;
}

Model ToModel(const v1::Model& message) {
  Model model;
  model.name = message.name();
  model.live_version = message.live_version();
  model.previous_version = message.previous_version();
  model.canary_version = message.canary_version();
  model.canary_percent = message.canary_percent();
  model.is_default = message.is_default();
  if (message.has_live_time()) model.live_time = ToTime(message.live_time());
  model.tile_px = message.tile_px();
  model.overlap_px = message.overlap_px();
  model.layers = message.layers();
  model.experts = message.experts();
  model.kept = message.kept();
  model.tasks = ToVector(message.tasks());
  model.canary_tasks = ToVector(message.canary_tasks());
  for (const v1::Model::Version& version : message.versions()) {
    model.versions.push_back(
        {version.version(), ToTime(version.create_time()), version.bytes(), version.source()});
  }
  return model;
}

Job ToJob(const v1::Job& message) {
  Job job;
  job.id = message.id();
  job.model = message.model();
  job.state = static_cast<JobState>(message.state());
  job.reason = message.reason();
  job.labels = ToMap(message.labels());
  job.priority = message.priority();
  job.resumed_from = message.resumed_from();
  job.create_time = ToTime(message.create_time());
  if (message.has_start_time()) job.start_time = ToTime(message.start_time());
  if (message.has_end_time()) job.end_time = ToTime(message.end_time());
  job.attempts = message.attempts();
  job.failures = message.failures();
  if (message.has_progress()) job.progress = ToProgress(message.progress());
  if (message.has_evaluation()) job.evaluation = ToEvaluation(message.evaluation());
  job.model_version = message.model_version();
  job.last_event = message.last_event();
  return job;
}

JobEvent ToJobEvent(const v1::JobEvent& message) {
  JobEvent event;
  event.number = message.number();
  event.time = ToTime(message.time());
  if (message.has_state_change()) {
    const v1::JobEvent::StateChange& change = message.state_change();
    event.state_change = JobEvent::StateChange{static_cast<JobState>(change.state()),
                                               change.reason(), change.attempt()};
  }
  if (message.has_progress()) event.progress = ToProgress(message.progress());
  if (message.has_evaluation()) event.evaluation = ToEvaluation(message.evaluation());
  if (message.has_checkpoint()) event.checkpoint_step = message.checkpoint().step();
  if (message.event_case() == v1::JobEvent::kWarning) event.warning = message.warning();
  return event;
}

Artifact ToArtifact(const v1::Artifact& message) {
  return {message.name(), message.bytes(), ToTime(message.update_time())};
}

const char* StateName(JobState state) noexcept {
  switch (state) {
    case JobState::kQueued:
      return "QUEUED";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kCancelling:
      return "CANCELLING";
    case JobState::kSucceeded:
      return "SUCCEEDED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "UNKNOWN";
}

}  // namespace deweather
