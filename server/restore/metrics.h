// Every series of the server, as references that are passed down.
// Series exist from the start, at zero, and no label grows with traffic: at most 300 series plus
// 2 * layers * E and, of each version that is live or on trial, 19; a retired version's leave. Those of
// layers and experts are all models' together and stay: there are as many as of the largest layers that were
// ever live. Counters of experts that no live model has stand still then, and a router's gauges keep what the
// last batch that was routed gave.
//
// Owns     the registry and through it every series
// Threads  thread-safe
// Cost     a counter 14 ns, a histogram 40 ns; the experts' counters are flushed once a batch

#ifndef DEWEATHER_SERVER_RESTORE_METRICS_H_
#define DEWEATHER_SERVER_RESTORE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "server/batch/call.h"
#include "server/batch/pulse.h"
#include "server/batch/tile_queue.h"

namespace deweather {

enum class Stage { kDecode, kQueue, kInfer, kBlend, kEncode };
enum class Refusal {
  kByteBudget,
  kTileBudget,
  kCallerQuota,
  kDeadlineTooShort,
  kDraining,
  kNoLiveModel
};
enum class TileDrop { kDeadline, kCancelled, kFailed };

// Routing of one batch, summed over its tiles (padding tiles left out).
struct BatchRouting {
  int layers = 0;
  int experts = 0;
  std::vector<int64_t> tokens = {};  // [layers][experts]
  std::vector<double> gate = {};     // [layers][experts]
  std::vector<double> entropy = {};  // [layers]: mean over the batch's tiles
  // [layers]: mean over those tiles that have it; empty if none has.
  std::vector<double> uncertainty = {};
};

// What is in flight at one moment.
struct Load {
  QueueDepth queue;
  int64_t requests = 0;
  int64_t bytes = 0;                // that they hold, as admission counts
  std::vector<Pulse> devices = {};  // what they are at
};

struct MetricsOptions {
  std::string build_version = {};
  std::string data_dir = ".";  // whose file system deweather_data_free_bytes and _size_bytes are of
  std::function<int64_t()> gpu_memory_bytes = {};  // empty: no GPU, no series (GpuMemoryProbe)
};

// Hand it to prometheus::Exposer::RegisterCollectable. Gauges of the process and of the queue are
// read at each scrape, so they cannot stay behind.
class Metrics final : public prometheus::Collectable {
 public:
  explicit Metrics(MetricsOptions options);

  std::vector<prometheus::MetricFamily> Collect() const override;

  prometheus::Counter& requests(absl::StatusCode code) const;
  prometheus::Counter& refused(Refusal reason) const {
    return *refused_[static_cast<size_t>(reason)];
  }
  prometheus::Counter& tiles_dropped(TileDrop reason) const {
    return *tiles_dropped_[static_cast<size_t>(reason)];
  }
  prometheus::Histogram& restore_seconds(Priority priority) const {
    return *restore_seconds_[static_cast<size_t>(priority)];
  }
  prometheus::Histogram& stage_seconds(Stage stage) const {
    return *stage_seconds_[static_cast<size_t>(stage)];
  }

  // Makes the series of a model's experts, at zero; `experts` are each layer's. Those of several models
  // are shared.
  void DeclareRouting(const std::vector<int>& experts);
  // Leaves out what is not declared: experts that a layer has not. REQUIRES: its layers are declared.
  void AddRouting(const BatchRouting& batch);

  // Makes the series of a version that is live or on trial from now on, and drops them.
  void AddModel(const std::string& name, const std::string& version);
  void RemoveModel(const std::string& name, const std::string& version);
  // A request that was given that version has ended. Counts nothing where its series are gone.
  void CountOfModel(const std::string& name, const std::string& version, absl::StatusCode code,
                    absl::Duration elapsed);

  // Asked at each scrape; empty: nothing in flight. Does not return while the old probe is running.
  void SetLoadProbe(std::function<Load()> probe);

  // Other folders add their families here.
  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& padding_tiles;
  prometheus::Histogram& refusal_seconds;
  prometheus::Histogram& cancel_seconds;
  prometheus::Histogram& batch_tiles;

 private:
  using Counters = std::vector<prometheus::Counter*>;
  struct ModelSeries {
    prometheus::Gauge* info = nullptr;
    std::array<prometheus::Counter*, 9> requests = {};  // by code
    prometheus::Histogram* seconds = nullptr;
  };

  void DeclareLayer(int layer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(routing_mutex_);
  void DeclareExpert(int layer, int expert) ABSL_EXCLUSIVE_LOCKS_REQUIRED(routing_mutex_);
  void RefreshProcess() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(scrape_mutex_);
  void RefreshLoad() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(scrape_mutex_);

  void DeclareConstants();

  // Constant after construction.
  const MetricsOptions options_;
  std::array<prometheus::Counter*, 17> requests_;  // by absl::StatusCode
  std::array<prometheus::Counter*, 6> refused_;    // by Refusal
  std::array<prometheus::Counter*, 3> tiles_dropped_;
  std::array<prometheus::Histogram*, 2> restore_seconds_;  // by Priority
  std::array<prometheus::Histogram*, 5> stage_seconds_;
  prometheus::Counter& cpu_seconds_;
  prometheus::Gauge& resident_bytes_;
  prometheus::Gauge& open_files_;
  prometheus::Gauge& max_files_;
  prometheus::Gauge& data_free_bytes_;
  prometheus::Gauge& data_size_bytes_;
  prometheus::Gauge* gpu_memory_bytes_ = nullptr;
  prometheus::Gauge& queue_tiles_;
  prometheus::Gauge& queue_oldest_seconds_;
  prometheus::Gauge& inflight_requests_;
  prometheus::Gauge& inflight_bytes_;
  prometheus::Family<prometheus::Gauge>& heartbeat_;
  prometheus::Family<prometheus::Gauge>& model_info_;
  prometheus::Family<prometheus::Counter>& model_requests_;
  prometheus::Family<prometheus::Histogram>& model_seconds_;
  prometheus::Family<prometheus::Counter>& expert_tokens_;
  prometheus::Family<prometheus::Counter>& expert_gate_;
  prometheus::Family<prometheus::Gauge>& router_entropy_;
  prometheus::Family<prometheus::Gauge>& router_uncertainty_;

  mutable Mutex scrape_mutex_;
  std::function<Load()> load_probe_ ABSL_GUARDED_BY(scrape_mutex_);

  Mutex model_mutex_;
  std::map<std::pair<std::string, std::string>, ModelSeries> models_
      ABSL_GUARDED_BY(model_mutex_);  // by name and version

  // [layer][expert]; they only grow.
  Mutex routing_mutex_;
  std::vector<Counters> token_series_ ABSL_GUARDED_BY(routing_mutex_);
  std::vector<Counters> gate_series_ ABSL_GUARDED_BY(routing_mutex_);
  std::vector<prometheus::Gauge*> entropy_series_ ABSL_GUARDED_BY(routing_mutex_);
  std::vector<prometheus::Gauge*> uncertainty_series_ ABSL_GUARDED_BY(routing_mutex_);
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_METRICS_H_
