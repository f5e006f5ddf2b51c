// The models that serve now, by name.
// A request pins a version; a replaced version lives until its last pin is gone.
//
// Promotion   load, check against the manifest, warm up, judge, write live.json, swap. Whatever fails
//             leaves what is live, in memory and on disk. The swap comes last and cannot fail: a crash
//             before the write leaves the old version live after a restart, a crash after it the new
//             one, which is whole and has run. While it is judged others may be promoted, or rolled
//             back; if what is live is not what it was judged against then, nothing is swapped. It is
//             loaded once more afterwards: it takes no memory from the others.
// Canary      a version on trial beside the live one takes a share of the model's requests. Which ones:
//             request n of the model gets it where frac(n / golden ratio) < share, so that any run of
//             requests holds its share of them, to within one or two, and no rhythm of callers meets it.
// Files       model/version_store.h. live.json is the truth: Follow brings memory after it, so that
//             servers which share the folder follow each other.
// Owns        the live version and the canary of every model
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
  TileSpec tile;   // where tokens are routed, they are multiple_px square
  int layers = 0;  // with a router
  int experts = 0;
  std::vector<int> layer_experts = {};  // [layers]: of each, at most `experts`
  int kept = 0;
  bool per_image = false;               // what is routed: whole images, not tokens
  std::vector<std::string> tasks = {};  // that have a gate of their own; empty: one gate for all
};

struct PinnedModel {
  std::shared_ptr<const Restorer> restorer = {};
  std::shared_ptr<BatchCost> cost = {};  // never null
  std::shared_ptr<BatchCost> map_cost =
      {};  // of batches with uncertainty, which take more; never null
  LiveModelInfo info = {};
};

// A model that is live, or stored, or both.
struct ModelStatus {
  std::string name = {};
  std::optional<LiveModelInfo> live = {};
  std::string previous_version = {};           // that a rollback goes to; empty: none
  std::string canary_version = {};             // on trial; empty: none
  std::vector<std::string> canary_tasks = {};  // as LiveModelInfo::tasks
  double canary_percent = 0;                   // of the requests that it takes
  std::vector<VersionManifest> versions = {};  // stored, newest first
};

// A version that has been loaded and has run, before it takes any request.
struct Candidate {
  std::string name;
  std::string version;
  std::string path;          // of its file
  std::string live_version;  // that it would replace or stand beside; empty: none is live
  std::string live_path;     // of the live version's file; empty: it has none
};

// What a promotion is to do beside the swap.
struct PromotionTerms {
  double canary_percent = 0;  // 0: it goes live; above 0, below 100: on trial, for that share
  // Asked on the promotion's thread; may take minutes. Its error is the promotion's. May be empty.
  std::function<absl::Status(const Candidate&)> judge = {};
};

struct LiveModelsOptions {
  std::vector<std::string> folders = {};  // where NAME.safetensors is looked for, in this order
  std::string store = {};       // DATA/models, the folder of versions; empty: there is none
  std::string device = "auto";  // auto, cpu, cuda, cuda:N
  Precision precision = Precision::kAuto;
  int threads = 0;  // that compute one batch together, in the whole process; 0: Torch's choice
  // Weights of all versions that are live or on trial and of the one that is being loaded, as their
  // files have them.
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

  // At start: loads `what`, then the live version of every other name in the store, and the canary of
  // every name. Of those a broken one is logged and left out.
  absl::StatusOr<LiveModelInfo> LoadAll(const std::string& what,
                                        const std::vector<int>& batch_sizes,
                                        const Executor& executor);

  // Makes a warm model live, as Load does at its end. What it replaces is freed on the executor.
  LiveModelInfo Install(Restorer model, const Executor& executor);

  // Makes a stored version live, and ends a trial; or puts it on trial. The live version again is no
  // work but the end of a trial; the canary is not loaded again. What is replaced is stored too, if it
  // came from a file elsewhere, so that Rollback finds it. Returns what is live then.
  // ABORTED while another promotion is under way, or is judged if this one is to be (PROMOTION_RUNNING),
  // and where what is live changed while it was judged (LIVE_CHANGED); FAILED_PRECONDITION without a
  // store, or for a canary beside nothing, or beside what cannot be stored; INVALID_ARGUMENT a share out
  // of its range.
  absl::StatusOr<LiveModelInfo> Promote(const std::string& name, const std::string& version,
                                        const std::vector<int>& batch_sizes,
                                        const Executor& executor, std::stop_token stop = {},
                                        const PromotionTerms& terms = {});

  // Ends a trial if there is one. Else promotes the version that was live before; once more, and the
  // first is back. FAILED_PRECONDITION too if there is none.
  absl::StatusOr<LiveModelInfo> Rollback(const std::string& name,
                                         const std::vector<int>& batch_sizes,
                                         const Executor& executor, std::stop_token stop = {});

  // Deletes a stored version, whole or torn. Nothing goes that is live, on trial, or what a rollback goes to,
  // here or by live.json: FAILED_PRECONDITION, as without a store. ABORTED while a promotion is under way.
  absl::Status DeleteVersion(const std::string& name, const std::string& version);

  // Deletes the versions of a name that came out of jobs, but for the `keep` newest and those in use. Never
  // fails: what cannot be deleted is logged. Does nothing while a promotion is under way.
  void PruneVersions(const std::string& name, int keep);

  // Makes live, or puts on trial, what a live.json newly says. Reads one small file a name; never
  // fails: what cannot be followed is logged, and tried again a minute later or when the file changes.
  // Does nothing while a promotion is under way. To be called every few seconds, by one thread.
  void Follow(const std::vector<int>& batch_sizes, const Executor& executor,
              std::stop_token stop = {}, absl::Time now = absl::Now());

  // The version that the next request of that model gets. Empty or "default": the default model.
  absl::StatusOr<PinnedModel> Pin(std::string_view name) const;

  // That version, if it is live or on trial, and else NOT_FOUND UNKNOWN_VERSION; an empty one is as above.
  absl::StatusOr<PinnedModel> Pin(std::string_view name, std::string_view version) const;

  // The versions that requests of that model get: the live one, then the one on trial if there is one.
  // Takes nobody's turn.
  absl::StatusOr<std::vector<LiveModelInfo>> Serving(std::string_view name) const;

  // Sorted by name.
  std::vector<LiveModelInfo> List() const;

  // `watch` is called with the name of every model that is live, and again whenever that name's versions
  // change; a name that is live stays so. Empty: nobody watches; does not return while the old one runs.
  void WatchNames(std::function<void(const std::string& name)> watch);

  // Of live and stored models, sorted.
  std::vector<std::string> Names() const;

  // Reads the folder of that name.
  absl::StatusOr<ModelStatus> StatusOf(const std::string& name);

  // The path of a checkpoint: of a stored version, or without one of the live version, else of
  // NAME.safetensors in `folders`. FAILED_PRECONDITION: the live version has no file.
  absl::StatusOr<std::string> CheckpointPath(const std::string& name,
                                             const std::string& version) const;

 private:
  // A version in memory, warm.
  struct Loaded {
    PinnedModel model = {};  // is_default is filled when asked for; a null restorer: there is none
    int64_t bytes = 0;       // of its weights
    std::string path = {};   // it was loaded from; empty: none

    bool there() const { return model.restorer != nullptr; }
    const std::string& version() const { return model.info.version; }
  };
  struct Versions {
    Loaded live = {};
    Loaded canary = {};
    double canary_percent = 0;
    mutable uint64_t turn = 0;  // of the next request, in 2^-64 of the whole
  };
  // What promotions ask of a name; it pins nothing.
  struct Standing {
    LiveModelInfo info = {};
    std::string path = {};
    std::string canary = {};  // version; empty: none
    std::vector<std::string> canary_tasks = {};
    double canary_percent = 0;
  };
  // The version that is judged.
  struct Judged {
    std::string name;
    std::string version;
  };
  // What Follow knows of a live.json.
  struct Followed {
    LiveRecord record;                         // that was last seen there
    absl::Time failed = absl::InfinitePast();  // when following it failed; else the infinite past
  };

  absl::StatusOr<Loaded> Read(const std::string& what, const WarmUpOptions& warm_up) const;
  absl::StatusOr<Loaded> ReadByName(const std::string& name, const WarmUpOptions& warm_up) const;
  absl::StatusOr<Loaded> ReadPath(const std::string& path, const WarmUpOptions& warm_up) const;
  absl::StatusOr<Loaded> ReadStored(const std::string& name, const std::string& version,
                                    const WarmUpOptions& warm_up) const;
  absl::StatusOr<Restorer> ParseStored(const std::string& name, const std::string& version) const;
  absl::Status CheckBudget(const std::string& what, int64_t bytes) const;
  absl::StatusOr<Loaded> Ready(Restorer model, int64_t bytes, const std::string& path,
                               const WarmUpOptions& warm_up) const;
  LiveModelInfo GoLive(const std::string& name, Loaded loaded, const Executor& executor);
  LiveModelInfo Change(const std::string& name, const Executor& executor,
                       const std::function<void(Versions&)>& change);
  void CountSeries(const std::string& name, const Versions& before, const Versions& after);

  absl::Status BeginPromotion();
  void AwaitPromotion();
  void EndPromotion();
  absl::Status BeginJudging(const std::string& name, const std::string& version);
  void EndJudging();
  bool IsJudged(const std::string& name, const std::string& version) const;
  absl::StatusOr<LiveModelInfo> PromoteInTurn(const std::string& name, const std::string& version,
                                              const WarmUpOptions& warm_up, double percent);
  absl::StatusOr<LiveModelInfo> PromoteJudged(const std::string& name, const std::string& version,
                                              const WarmUpOptions& warm_up,
                                              const PromotionTerms& terms);
  absl::StatusOr<Loaded> LoadCandidate(const std::string& name, const std::string& version,
                                       const WarmUpOptions& warm_up, double percent) const;
  absl::StatusOr<Candidate> Examine(const std::string& name, const std::string& version,
                                    const WarmUpOptions& warm_up, double percent) const;
  absl::StatusOr<Loaded> TakeOrRead(const std::string& name, const std::string& version,
                                    const WarmUpOptions& warm_up) const;
  absl::StatusOr<LiveModelInfo> GoOnTrial(const std::string& name, Loaded loaded, double percent,
                                          const Executor& executor);
  absl::StatusOr<LiveModelInfo> Keep(const std::string& name, const std::string& version,
                                     const Executor& executor);
  absl::StatusOr<LiveModelInfo> EndTrial(const std::string& name, LiveRecord record,
                                         const Executor& executor);
  absl::Status WriteRecord(const std::string& name, const std::string& version);
  absl::Status WriteTrial(const std::string& name, const std::string& canary, double percent);
  std::string StoreLive(const std::string& name);
  absl::Status CheckKnown(const std::string& name) const;
  absl::Status CheckUnused(const std::string& name, const std::string& version) const;

  void LoadOther(const std::string& name, const WarmUpOptions& warm_up);
  void LoadCanary(const std::string& name, const LiveRecord& record, const WarmUpOptions& warm_up);
  std::optional<LiveRecord> NewsOf(const std::string& name, absl::Time now);
  void FollowName(const std::string& name, const WarmUpOptions& warm_up, absl::Time now);
  absl::Status FollowLive(const std::string& name, const LiveRecord& record,
                          const WarmUpOptions& warm_up);
  absl::Status FollowCanary(const std::string& name, const LiveRecord& record,
                            const WarmUpOptions& warm_up);
  void Remember(const std::string& name, const LiveRecord& record,
                absl::Time failed = absl::InfinitePast());
  void Log(const std::string& message) const;
  void LogOnce(const std::string& message);

  absl::StatusOr<const Versions*> Lookup(std::string_view name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<Standing> Find(std::string_view name) const;
  std::string LiveVersion(const std::string& name) const;
  PinnedModel Describe(const Loaded& loaded) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LiveModelsOptions options_;
  Metrics& metrics_;

  mutable Mutex mutex_;
  std::map<std::string, Versions, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  std::string default_name_ ABSL_GUARDED_BY(mutex_);
  bool promoting_ ABSL_GUARDED_BY(mutex_) = false;
  CondVar promotion_ended_;
  std::optional<Judged> judged_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Followed> followed_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> logged_ ABSL_GUARDED_BY(mutex_);  // so that no list repeats it

  Mutex watch_mutex_;  // before mutex_
  std::function<void(const std::string&)> watch_ ABSL_GUARDED_BY(watch_mutex_);
};

// INVALID_ARGUMENT: there is no such device here, or the program is built without CUDA.
absl::Status CheckDevice(const std::string& device);

// Bytes that Torch holds on the GPU, for MetricsOptions; an empty function where there is no GPU.
std::function<int64_t()> GpuMemoryProbe();

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_LIVE_MODELS_H_
