#include "server/restore/metrics.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/base/control_group.h"
#include "model/base/file.h"
#include "model/base/process_memory.h"

namespace deweather {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

constexpr int kStatusCodes = 17;

const Histogram::BucketBoundaries& LatencyBuckets() {
  static const Histogram::BucketBoundaries* const kSeconds = new Histogram::BucketBoundaries{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100};
  return *kSeconds;
}

const Histogram::BucketBoundaries& PromptBuckets() {
  static const Histogram::BucketBoundaries* const kSeconds = new Histogram::BucketBoundaries{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1};
  return *kSeconds;
}

// Coarse: there are as many as versions.
const Histogram::BucketBoundaries& ModelBuckets() {
  static const Histogram::BucketBoundaries* const kSeconds =
      new Histogram::BucketBoundaries{0.01, 0.05, 0.25, 1, 5, 30};
  return *kSeconds;
}

const Histogram::BucketBoundaries& BatchBuckets() {
  static const Histogram::BucketBoundaries* const kTiles =
      new Histogram::BucketBoundaries{1, 2, 4, 8, 16, 32, 64};
  return *kTiles;
}

Family<Counter>& CounterFamily(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

Family<Gauge>& GaugeFamily(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

Family<Histogram>& HistogramFamily(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

Counter& OneCounter(Registry& registry, const char* name, const char* help) {
  return CounterFamily(registry, name, help).Add({});
}

Gauge& OneGauge(Registry& registry, const char* name, const char* help) {
  return GaugeFamily(registry, name, help).Add({});
}

Histogram& OneHistogram(Registry& registry, const char* name, const char* help,
                        const Histogram::BucketBoundaries& buckets) {
  return HistogramFamily(registry, name, help).Add({}, buckets);
}

// One counter for each value of one label.
template <size_t N>
std::array<Counter*, N> LabelledCounters(Family<Counter>& family, const char* label,
                                         const std::array<const char*, N>& values) {
  std::array<Counter*, N> counters;
  for (size_t i = 0; i < N; ++i) counters[i] = &family.Add({{label, values[i]}});
  return counters;
}

std::array<Counter*, kStatusCodes> RequestCounters(Registry& registry) {
  Family<Counter>& family = CounterFamily(registry, "deweather_restore_requests_total",
                                          "Requests that ended, by gRPC status code.");
  std::array<Counter*, kStatusCodes> counters;
  for (int code = 0; code < kStatusCodes; ++code) {
    const std::string name = absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
    counters[static_cast<size_t>(code)] = &family.Add({{"code", name}});
  }
  return counters;
}

std::array<Counter*, 6> RefusalCounters(Registry& registry) {
  return LabelledCounters<6>(CounterFamily(registry, "deweather_restore_refused_total",
                                           "Requests refused before they were decoded, by reason."),
                             "reason",
                             {"byte_budget", "tile_budget", "caller_quota", "deadline_too_short",
                              "draining", "no_live_model"});
}

std::array<Counter*, 3> DropCounters(Registry& registry) {
  return LabelledCounters<3>(
      CounterFamily(registry, "deweather_tiles_dropped_total",
                    "Tiles that went in and did not come out restored, by reason."),
      "reason", {"deadline", "cancelled", "failed"});
}

std::array<Histogram*, 5> StageHistograms(Registry& registry) {
  Family<Histogram>& family = HistogramFamily(
      registry, "deweather_stage_seconds",
      "Time in a stage: decode and encode per picture, queue and blend per tile, infer per batch.");
  std::array<Histogram*, 5> histograms;
  size_t next = 0;
  for (const char* stage : {"decode", "queue", "infer", "blend", "encode"}) {
    histograms[next++] = &family.Add({{"stage", stage}}, LatencyBuckets());
  }
  return histograms;
}

std::array<Histogram*, 2> RestoreHistograms(Registry& registry) {
  Family<Histogram>& family =
      HistogramFamily(registry, "deweather_restore_seconds",
                      "Time of a successful request, from its bytes to its reply, by priority.");
  return {&family.Add({{"priority", "normal"}}, LatencyBuckets()),
          &family.Add({{"priority", "background"}}, LatencyBuckets())};
}

// Codes that a request can end with once it has a model, and the last for all others.
constexpr std::array<absl::StatusCode, 9> kModelCodes = {absl::StatusCode::kOk,
                                                         absl::StatusCode::kCancelled,
                                                         absl::StatusCode::kInvalidArgument,
                                                         absl::StatusCode::kDeadlineExceeded,
                                                         absl::StatusCode::kResourceExhausted,
                                                         absl::StatusCode::kFailedPrecondition,
                                                         absl::StatusCode::kInternal,
                                                         absl::StatusCode::kUnavailable,
                                                         absl::StatusCode::kUnknown};

double CpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The look itself opens one.
double OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 0 : static_cast<double>(std::distance(begin(files), end(files)) - 1);
}

double MaxFiles() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

}  // namespace

Metrics::Metrics(MetricsOptions options)
    : registry(std::make_shared<Registry>()),
      padding_tiles(OneCounter(*registry, "deweather_batch_padding_tiles_total",
                               "Tiles without a picture that filled up a batch.")),
      refusal_seconds(OneHistogram(*registry, "deweather_refusal_seconds",
                                   "Time of a refused request, from its bytes to its reply.",
                                   PromptBuckets())),
      cancel_seconds(OneHistogram(*registry, "deweather_cancel_seconds",
                                  "Time from a cancel until no tile of the request waits.",
                                  PromptBuckets())),
      batch_tiles(
          OneHistogram(*registry, "deweather_batch_tiles", "Tiles in a batch.", BatchBuckets())),
      options_(std::move(options)),
      requests_(RequestCounters(*registry)),
      refused_(RefusalCounters(*registry)),
      tiles_dropped_(DropCounters(*registry)),
      restore_seconds_(RestoreHistograms(*registry)),
      stage_seconds_(StageHistograms(*registry)),
      cpu_seconds_(OneCounter(*registry, "process_cpu_seconds_total",
                              "User and system time of the process.")),
      resident_bytes_(
          OneGauge(*registry, "process_resident_memory_bytes", "Resident memory of the process.")),
      open_files_(OneGauge(*registry, "process_open_fds", "Open file descriptors.")),
      max_files_(OneGauge(*registry, "process_max_fds", "Most that may be open.")),
      data_free_bytes_(OneGauge(*registry, "deweather_data_free_bytes",
                                "Free space on the data folder's file system.")),
      data_size_bytes_(
          OneGauge(*registry, "deweather_data_size_bytes", "Size of that file system.")),
      queue_tiles_(OneGauge(*registry, "deweather_queue_tiles", "Tiles that wait for a batch.")),
      queue_oldest_seconds_(OneGauge(*registry, "deweather_queue_oldest_seconds",
                                     "Longest wait of a tile of normal priority.")),
      inflight_requests_(
          OneGauge(*registry, "deweather_inflight_requests", "Requests that were let in.")),
      inflight_bytes_(OneGauge(*registry, "deweather_inflight_bytes",
                               "What they hold, by the estimate that admission goes by.")),
      heartbeat_(
          GaugeFamily(*registry, "deweather_batch_heartbeat_timestamp_seconds",
                      "When the device began what it is at, or now if it waits, since 1970.")),
      model_info_(GaugeFamily(*registry, "deweather_model_info",
                              "1 for each model and version that is live or on trial.")),
      model_requests_(CounterFamily(*registry, "deweather_model_requests_total",
                                    "Requests that were given the version, by gRPC status code.")),
      model_seconds_(HistogramFamily(*registry, "deweather_model_request_seconds",
                                     "Time of a successful request that was given the version.")),
      expert_tokens_(CounterFamily(*registry, "deweather_expert_tokens_total",
                                   "Tokens that kept the expert.")),
      expert_gate_(CounterFamily(*registry, "deweather_expert_gate_total",
                                 "Sum of the gate weights with which tokens kept the expert.")),
      router_entropy_(GaugeFamily(*registry, "deweather_router_entropy_ratio",
                                  "Mean entropy of the router's choice in the last batch, of the "
                                  "largest possible.")),
      router_uncertainty_(GaugeFamily(*registry, "deweather_router_uncertainty",
                                      "Mean uncertainty of the router in the last batch of which a "
                                      "request wanted the map.")) {
  DeclareConstants();
  if (options_.gpu_memory_bytes) {
    gpu_memory_bytes_ = &OneGauge(*registry, "deweather_gpu_memory_bytes",
                                  "Memory that the model holds on the GPU.");
  }
}

void Metrics::DeclareConstants() {
  GaugeFamily(*registry, "deweather_build_info", "1, with the version of the program.")
      .Add({{"version", options_.build_version}})
      .Set(1);
  OneGauge(*registry, "process_start_time_seconds", "When the process began, since 1970.")
      .Set(static_cast<double>(absl::ToUnixMillis(absl::Now())) * 1e-3);
  const std::optional<int64_t> limit = MemoryLimitBytes();
  if (limit.has_value()) {
    OneGauge(*registry, "deweather_memory_limit_bytes", "What the control group allows.")
        .Set(static_cast<double>(*limit));
  }
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  {
    MutexLock lock(scrape_mutex_);
    RefreshProcess();
    RefreshLoad();
  }
  return registry->Collect();
}

prometheus::Counter& Metrics::requests(absl::StatusCode code) const {
  const auto index = static_cast<size_t>(code);
  const auto unknown = static_cast<size_t>(absl::StatusCode::kUnknown);
  return *requests_[index < requests_.size() ? index : unknown];
}

void Metrics::DeclareRouting(const std::vector<int>& experts) {
  MutexLock lock(routing_mutex_);
  for (size_t layer = 0; layer < experts.size(); ++layer) {
    if (layer == token_series_.size()) DeclareLayer(static_cast<int>(layer));
    for (auto expert = static_cast<int>(token_series_[layer].size()); expert < experts[layer];
         ++expert) {
      DeclareExpert(static_cast<int>(layer), expert);
    }
  }
}

void Metrics::DeclareLayer(int layer) {
  token_series_.emplace_back();
  gate_series_.emplace_back();
  const prometheus::Labels labels{{"layer", absl::StrCat(layer)}};
  entropy_series_.push_back(&router_entropy_.Add(labels));
  uncertainty_series_.push_back(&router_uncertainty_.Add(labels));
}

void Metrics::DeclareExpert(int layer, int expert) {
  const prometheus::Labels labels{{"layer", absl::StrCat(layer)}, {"expert", absl::StrCat(expert)}};
  const auto row = static_cast<size_t>(layer);
  token_series_[row].push_back(&expert_tokens_.Add(labels));
  gate_series_[row].push_back(&expert_gate_.Add(labels));
}

void Metrics::AddRouting(const BatchRouting& batch) {
  MutexLock lock(routing_mutex_);
  const auto experts = static_cast<size_t>(batch.experts);
  for (size_t layer = 0; layer < static_cast<size_t>(batch.layers); ++layer) {
    const size_t declared = std::min(experts, token_series_[layer].size());
    for (size_t expert = 0; expert < declared; ++expert) {
      const size_t cell = layer * experts + expert;
      token_series_[layer][expert]->Increment(static_cast<double>(batch.tokens[cell]));
      gate_series_[layer][expert]->Increment(batch.gate[cell]);
    }
    entropy_series_[layer]->Set(batch.entropy[layer]);
    if (!batch.uncertainty.empty()) uncertainty_series_[layer]->Set(batch.uncertainty[layer]);
  }
}

void Metrics::AddModel(const std::string& name, const std::string& version) {
  const prometheus::Labels labels{{"model", name}, {"version", version}};
  ModelSeries series;
  series.info = &model_info_.Add(labels);
  series.info->Set(1);
  series.seconds = &model_seconds_.Add(labels, ModelBuckets());
  for (size_t i = 0; i < kModelCodes.size(); ++i) {
    prometheus::Labels with_code = labels;
    with_code["code"] = absl::StatusCodeToString(kModelCodes[i]);
    series.requests[i] = &model_requests_.Add(with_code);
  }
  MutexLock lock(model_mutex_);
  models_[{name, version}] = series;
}

void Metrics::RemoveModel(const std::string& name, const std::string& version) {
  MutexLock lock(model_mutex_);
  const auto found = models_.find({name, version});
  if (found == models_.end()) return;
  model_info_.Remove(found->second.info);
  model_seconds_.Remove(found->second.seconds);
  for (Counter* const counter : found->second.requests) model_requests_.Remove(counter);
  models_.erase(found);
}

void Metrics::CountOfModel(const std::string& name, const std::string& version,
                           absl::StatusCode code, absl::Duration elapsed) {
  const auto known = std::find(kModelCodes.begin(), std::prev(kModelCodes.end()), code);
  MutexLock lock(model_mutex_);
  const auto found = models_.find({name, version});
  if (found == models_.end()) return;
  found->second.requests[static_cast<size_t>(known - kModelCodes.begin())]->Increment();
  if (code == absl::StatusCode::kOk) found->second.seconds->Observe(absl::ToDoubleSeconds(elapsed));
}

void Metrics::SetLoadProbe(std::function<Load()> probe) {
  MutexLock lock(scrape_mutex_);
  load_probe_ = std::move(probe);
}

void Metrics::RefreshProcess() const {
  cpu_seconds_.Increment(CpuSeconds() - cpu_seconds_.Value());
  resident_bytes_.Set(static_cast<double>(ResidentBytes()));
  open_files_.Set(OpenFiles());
  max_files_.Set(MaxFiles());
  const absl::StatusOr<DiskSpace> space = SpaceOf(options_.data_dir);
  data_free_bytes_.Set(space.ok() ? static_cast<double>(space->free_bytes) : std::nan(""));
  data_size_bytes_.Set(space.ok() ? static_cast<double>(space->size_bytes) : std::nan(""));
  if (gpu_memory_bytes_ != nullptr) {
    gpu_memory_bytes_->Set(static_cast<double>(options_.gpu_memory_bytes()));
  }
}

void Metrics::RefreshLoad() const {
  const Load load = load_probe_ ? load_probe_() : Load{};
  queue_tiles_.Set(static_cast<double>(load.queue.tiles));
  queue_oldest_seconds_.Set(absl::ToDoubleSeconds(load.queue.oldest));
  inflight_requests_.Set(static_cast<double>(load.requests));
  inflight_bytes_.Set(static_cast<double>(load.bytes));
  const absl::Time now = absl::Now();
  for (size_t device = 0; device < load.devices.size(); ++device) {
    const Pulse& pulse = load.devices[device];
    const absl::Time beat = pulse.of == Pulse::Of::kNothing ? now : pulse.since;
    heartbeat_.Add({{"device", absl::StrCat(device)}})
        .Set(static_cast<double>(absl::ToUnixMillis(beat)) * 1e-3);
  }
}

}  // namespace deweather
