// The models that serve now, by name.
// A request pins a version; a replaced version lives until its last pin is gone.
//
// Owns     the live version of every model
// Threads  thread-safe
// Errors   NOT_FOUND names the unknown model and the known ones; UNAVAILABLE nothing is live

#ifndef DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_
#define DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/precision.h"
#include "model/base/tile_spec.h"
#include "server/batch/batch_cost.h"
#include "server/restore/restore.h"

namespace deweather {

class Metrics;
struct Restorer;

// What is known of a live model without looking into it.
struct LiveModelInfo {
  std::string name;
  std::string version;
  absl::Time live_since;
  bool is_default = false;
  TileSpec tile;
  int layers = 0;  // with a router
  int experts = 0;
  int kept = 0;
  bool per_image = false;  // what is routed: whole images, not tokens
};

struct PinnedModel {
  std::shared_ptr<const Restorer> restorer;
  std::shared_ptr<BatchCost> cost;  // never null
  LiveModelInfo info;
};

struct LiveModelsOptions {
  std::vector<std::string> folders = {};  // where NAME.safetensors is looked for, in this order
  std::string device = "auto";            // auto, cpu, cuda, cuda:N
  Precision precision = Precision::kAuto;
  int threads = 0;  // that compute one batch together, in the whole process; 0: Torch's choice
};

class LiveModels {
 public:
  // `metrics` must outlive the object.
  LiveModels(const LiveModelsOptions& options, Metrics& metrics);
  ~LiveModels();
  LiveModels(const LiveModels&) = delete;
  LiveModels& operator=(const LiveModels&) = delete;

  // `what` is "identity", the path of a checkpoint (it holds a '/' or ends in ".safetensors"), or a
  // name to look for in `folders`. Loads it, warms every batch size on the executor, one at a time,
  // and makes it live under its own name; the first one loaded becomes the default. On an error
  // what was live stays. Blocks the calling thread, never the executor for more than one run.
  absl::StatusOr<LiveModelInfo> Load(const std::string& what, const std::vector<int>& batch_sizes,
                                     const Executor& executor);

  // Makes a warm model live, as Load does at its end. What it replaces is freed on the executor.
  LiveModelInfo Install(Restorer model, const Executor& executor);

  // Empty or "default": the default model.
  absl::StatusOr<PinnedModel> Pin(std::string_view name) const;

  // Sorted by name.
  std::vector<LiveModelInfo> List() const;

 private:
  // Room for what is not live: a canary that takes a share of the requests, and the previous
  // version for a rollback.
  struct Versions {
    PinnedModel live;  // is_default is filled when asked for
  };

  absl::StatusOr<Restorer> Read(const std::string& what) const;
  PinnedModel Describe(const Versions& versions) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LiveModelsOptions options_;
  Metrics& metrics_;

  mutable Mutex mutex_;
  std::map<std::string, Versions, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  std::string default_name_ ABSL_GUARDED_BY(mutex_);
};

// Bytes that Torch holds on the GPU, for MetricsOptions; an empty function where there is no GPU.
std::function<int64_t()> GpuMemoryProbe();

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_
