// The models that serve now, by name.
// A request pins a version; a replaced version lives until its last pin is gone.
//
// Promotion   load, check against the manifest, warm up, write live.json, swap. Whatever fails leaves
//             what is live, in memory and on disk. The swap comes last and cannot fail: a crash
//             before the write leaves the old version live after a restart, a crash after it the new
//             one, which is whole and has run.
// Files       model/version_store.h. live.json is the truth: Follow brings memory after it, so that
//             servers which share the folder follow each other.
// Owns        the live version of every model
// Threads     thread-safe; Load, Promote and Rollback block the caller, the executor for one run of
//             a warm-up at a time
// Errors      NOT_FOUND names the unknown model or version and the known ones · UNAVAILABLE nothing is
//             live · DATA_LOSS a torn version, naming the file · INTERNAL a model that fails its
//             warm-up · RESOURCE_EXHAUSTED over max_model_bytes · CANCELLED by `stop`

#ifndef DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_
#define DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/precision.h"
#include "model/base/tile_spec.h"
#include "model/version_store.h"
#include "server/batch/batch_cost.h"
#include "server/restore/restore.h"

namespace deweather {

class Metrics;
struct Restorer;
struct WarmUpOptions;

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

// A model that is live, or stored, or both.
struct ModelStatus {
  std::string name = {};
  std::optional<LiveModelInfo> live = {};
  std::string previous_version = {};           // that a rollback goes to; empty: none
  std::vector<VersionManifest> versions = {};  // stored, newest first
};

struct LiveModelsOptions {
  std::vector<std::string> folders = {};  // where NAME.safetensors is looked for, in this order
  std::string store = {};       // DATA/models, the folder of versions; empty: there is none
  std::string device = "auto";  // auto, cpu, cuda, cuda:N
  Precision precision = Precision::kAuto;
  int threads = 0;  // that compute one batch together, in the whole process; 0: Torch's choice
  // Weights of all live models and of the one that is being loaded, as their files have them.
  int64_t max_model_bytes = int64_t{8} << 30;
  // Told what nobody asked for and what nobody answers for: torn versions, versions that were
  // followed. Called on any thread, under no lock.
  std::function<void(const std::string&)> log = {};
  // Told when a warm-up finds the device broken for good (model/base/device_failure.h).
  std::function<void(const absl::Status&)> on_device_failure = {};
};

class LiveModels {
 public:
  // `metrics` must outlive the object.
  LiveModels(const LiveModelsOptions& options, Metrics& metrics);
  ~LiveModels();
  LiveModels(const LiveModels&) = delete;
  LiveModels& operator=(const LiveModels&) = delete;

  // `what` is "identity", the path of a checkpoint (it holds a '/' or ends in ".safetensors"), or a
  // name: its live version in the store, else NAME.safetensors in `folders`, else its only version
  // in the store. Warms every batch size and makes it live under its own name; the first one
  // loaded becomes the default. On an error what was live stays.
  absl::StatusOr<LiveModelInfo> Load(const std::string& what, const std::vector<int>& batch_sizes,
                                     const Executor& executor);

  // At start: loads `what`, then the live version of every other name in the store. Of those a
  // broken one is logged and left out.
  absl::StatusOr<LiveModelInfo> LoadAll(const std::string& what,
                                        const std::vector<int>& batch_sizes,
                                        const Executor& executor);

  // Makes a warm model live, as Load does at its end. What it replaces is freed on the executor.
  LiveModelInfo Install(Restorer model, const Executor& executor);

  // Makes a stored version live. The live version again is no work. What it replaces is stored too,
  // if it came from a file elsewhere, so that Rollback finds it.
  // ABORTED while another promotion is under way; FAILED_PRECONDITION without a store.
  absl::StatusOr<LiveModelInfo> Promote(const std::string& name, const std::string& version,
                                        const std::vector<int>& batch_sizes,
                                        const Executor& executor, std::stop_token stop = {});

  // Promotes the version that was live before; once more, and the first is back.
  // FAILED_PRECONDITION too if there is none.
  absl::StatusOr<LiveModelInfo> Rollback(const std::string& name,
                                         const std::vector<int>& batch_sizes,
                                         const Executor& executor, std::stop_token stop = {});

  // Makes live what a live.json newly says. Reads one small file a name; never fails: what cannot
  // be followed is logged, and tried again a minute later or when the file changes. Does nothing
  // while a promotion is under way. To be called every few seconds, by one thread.
  void Follow(const std::vector<int>& batch_sizes, const Executor& executor,
              std::stop_token stop = {}, absl::Time now = absl::Now());

  // Empty or "default": the default model.
  absl::StatusOr<PinnedModel> Pin(std::string_view name) const;

  // Sorted by name.
  std::vector<LiveModelInfo> List() const;

  // Of live and stored models, sorted.
  std::vector<std::string> Names() const;

  // Reads the folder of that name.
  absl::StatusOr<ModelStatus> StatusOf(const std::string& name);

 private:
  struct Loaded;
  // Room for what is not live: a canary that takes a share of the requests.
  struct Versions {
    PinnedModel live;   // is_default is filled when asked for
    int64_t bytes = 0;  // of its weights
    std::string path;   // it was loaded from; empty: none
  };
  // What promotions ask of the live version; it pins nothing.
  struct Live {
    LiveModelInfo info;
    std::string path;
  };
  // What Follow knows of a live.json.
  struct Followed {
    std::string version;                       // that was last seen there
    absl::Time failed = absl::InfinitePast();  // when following it failed; else the infinite past
  };

  absl::StatusOr<Loaded> Read(const std::string& what, const WarmUpOptions& warm_up) const;
  absl::StatusOr<Loaded> ReadByName(const std::string& name, const WarmUpOptions& warm_up) const;
  absl::StatusOr<Loaded> ReadPath(const std::string& path, const WarmUpOptions& warm_up) const;
  absl::StatusOr<Loaded> ReadStored(const std::string& name, const std::string& version,
                                    const WarmUpOptions& warm_up) const;
  absl::Status CheckBudget(const std::string& what, int64_t bytes) const;
  absl::Status Ready(Loaded& loaded, const WarmUpOptions& warm_up) const;
  LiveModelInfo Swap(Loaded loaded, const Executor& executor);

  absl::Status BeginPromotion();
  void EndPromotion();
  absl::StatusOr<LiveModelInfo> PromoteInTurn(const std::string& name, const std::string& version,
                                              const WarmUpOptions& warm_up);
  absl::StatusOr<LiveModelInfo> Keep(const std::string& name, const std::string& version);
  absl::Status WriteRecord(const std::string& name, const std::string& version);
  std::string StoreLive(const std::string& name);
  absl::Status CheckKnown(const std::string& name) const;

  void LoadOther(const std::string& name, const WarmUpOptions& warm_up);
  std::string NewsOf(const std::string& name, absl::Time now);
  void FollowName(const std::string& name, const WarmUpOptions& warm_up, absl::Time now);
  void Remember(const std::string& name, const std::string& version,
                absl::Time failed = absl::InfinitePast());
  void Log(const std::string& message) const;
  void LogOnce(const std::string& message);

  std::optional<Live> Find(std::string_view name) const;
  PinnedModel Describe(const Versions& versions) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LiveModelsOptions options_;
  Metrics& metrics_;

  mutable Mutex mutex_;
  std::map<std::string, Versions, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  std::string default_name_ ABSL_GUARDED_BY(mutex_);
  bool promoting_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, Followed> followed_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> logged_ ABSL_GUARDED_BY(mutex_);  // so that no list repeats it
};

// Bytes that Torch holds on the GPU, for MetricsOptions; an empty function where there is no GPU.
std::function<int64_t()> GpuMemoryProbe();

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_
