#include "server/restore/live_models.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceType.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "model/base/annotate.h"
#include "model/base/device_failure.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/device.h"
#include "model/restorer.h"
#include "model/torch_errors.h"
#include "server/restore/metrics.h"
#include "server/restore/warm_up.h"

namespace deweather {
namespace {

constexpr size_t kMostLogged = 1000;

// 2^64 / golden ratio: its multiples, modulo 2^64, are spread as evenly as can be.
constexpr uint64_t kGoldenStep = 0x9E3779B97F4A7C15;

bool IsPath(const std::string& what) {
  return absl::StrContains(what, '/') || absl::EndsWith(what, ".safetensors");
}

absl::StatusOr<std::string> FindByName(const std::vector<std::string>& folders,
                                       const std::string& name) {
  for (const std::string& folder : folders) {
    const std::string path = absl::StrCat(folder, "/", name, ".safetensors");
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) return path;
  }
  return absl::NotFoundError(absl::StrCat(
      "no model '", name, "' in ",
      folders.empty() ? "any folder: none is configured" : absl::StrJoin(folders, ", ")));
}

// Zero if that cannot be told: whoever opens the file will say why.
int64_t FileBytes(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

std::vector<int> LayerExperts(const RoutingSpec& routing) {
  std::vector<int> experts = routing.experts_by_layer;
  experts.resize(static_cast<size_t>(routing.layers), routing.experts);
  return experts;
}

LiveModelInfo InfoOf(const RestorerSpec& spec) {
  return {.name = spec.name,
          .version = spec.version,
          .live_since = absl::Now(),
          .tile = spec.tile,
          .layers = spec.routing.layers,
          .experts = spec.routing.experts,
          .layer_experts = LayerExperts(spec.routing),
          .kept = spec.routing.kept,
          .per_image = spec.routing.unit == RoutingUnit::kImage,
          .tasks = spec.tasks};
}

// The store's errors with the words that programs know.
absl::Status WithStoreReason(const absl::Status& status) {
  if (absl::IsNotFound(status)) return WithReason(status, "UNKNOWN_VERSION");
  if (absl::IsDataLoss(status)) return WithReason(status, "TORN_VERSION");
  return status;
}

}  // namespace

LiveModels::LiveModels(const LiveModelsOptions& options, Metrics& metrics)
    : options_(options), metrics_(metrics) {
  if (options.threads > 0) at::set_num_threads(options.threads);
}

LiveModels::~LiveModels() = default;

// --- loading ---

absl::StatusOr<LiveModelInfo> LiveModels::Load(const std::string& what,
                                               const std::vector<int>& batch_sizes,
                                               const Executor& executor) {
  DW_ASSIGN_OR_RETURN(Loaded loaded, Read(what, {batch_sizes, executor}));
  const std::string name = loaded.model.info.name;
  return GoLive(name, std::move(loaded), executor);
}

absl::StatusOr<LiveModelInfo> LiveModels::LoadAll(const std::string& what,
                                                  const std::vector<int>& batch_sizes,
                                                  const Executor& executor) {
  DW_ASSIGN_OR_RETURN(const LiveModelInfo first, Load(what, batch_sizes, executor));
  if (!options_.store.empty()) {
    const WarmUpOptions warm_up{batch_sizes, executor};
    for (const std::string& name : ListStoredNames(options_.store)) LoadOther(name, warm_up);
  }
  return first;
}

// What is live already was asked for by name, and stays.
void LiveModels::LoadOther(const std::string& name, const WarmUpOptions& warm_up) {
  const auto record = ReadLive(options_.store, name);
  if (!record.ok()) return LogOnce(record.status().ToString());
  if (!record->has_value()) return;
  const LiveRecord& wanted = **record;
  Remember(name, wanted);
  if (const std::optional<Standing> live = Find(name); live.has_value()) {
    // What was asked for by path wins over the record; what was asked for by name is the record's, unless
    // that has changed since: then Follow has news.
    const std::string& version = live->info.version;
    if (live->path != VersionPath(options_.store, name, version)) return;
    if (version != wanted.version) return Remember(name, {.version = version});
    return LoadCanary(name, wanted, warm_up);
  }
  absl::StatusOr<Loaded> loaded = ReadStored(name, wanted.version, warm_up);
  if (!loaded.ok()) {
    Remember(name, wanted, absl::Now());
    return Log(absl::StrFormat("model %s is left out: %s", name, loaded.status().ToString()));
  }
  GoLive(name, *std::move(loaded), warm_up.executor);
  LoadCanary(name, wanted, warm_up);
}

void LiveModels::LoadCanary(const std::string& name, const LiveRecord& record,
                            const WarmUpOptions& warm_up) {
  if (!record.problem.empty()) LogOnce(record.problem);
  const absl::Status status = FollowCanary(name, record, warm_up);
  if (status.ok()) return;
  Remember(name, record, absl::Now());
  Log(absl::StrFormat("the canary of model %s is left out: %s", name, status.ToString()));
}

absl::StatusOr<LiveModels::Loaded> LiveModels::Read(const std::string& what,
                                                    const WarmUpOptions& warm_up) const {
  if (what == "identity") return Ready(IdentityRestorer(TileSpec{}), 0, "", warm_up);
  return IsPath(what) ? ReadPath(what, warm_up) : ReadByName(what, warm_up);
}

absl::StatusOr<LiveModels::Loaded> LiveModels::ReadByName(const std::string& name,
                                                          const WarmUpOptions& warm_up) const {
  const bool may_be_stored = !options_.store.empty() && ValidateName("name", name).ok();
  if (may_be_stored) {
    DW_ASSIGN_OR_RETURN(const auto record, ReadLive(options_.store, name));
    if (record.has_value()) return ReadStored(name, record->version, warm_up);
  }
  const absl::StatusOr<std::string> path = FindByName(options_.folders, name);
  if (path.ok()) return ReadPath(*path, warm_up);
  if (!may_be_stored) return path.status();
  const VersionList stored = ListVersions(options_.store, name);
  if (stored.versions.empty()) return path.status();
  if (stored.versions.size() == 1) {
    return ReadStored(name, stored.versions.front().version, warm_up);
  }
  return absl::FailedPreconditionError(
      absl::StrFormat("model '%s' has %d versions in '%s' and none was promoted", name,
                      stored.versions.size(), options_.store));
}

absl::StatusOr<LiveModels::Loaded> LiveModels::ReadPath(const std::string& path,
                                                        const WarmUpOptions& warm_up) const {
  const int64_t bytes = FileBytes(path);
  DW_RETURN_IF_ERROR(CheckBudget(path, bytes));
  DW_ASSIGN_OR_RETURN(Restorer model, LoadRestorer(path, {options_.device, options_.precision}));
  return Ready(std::move(model), bytes, path, warm_up);
}

absl::StatusOr<LiveModels::Loaded> LiveModels::ReadStored(const std::string& name,
                                                          const std::string& version,
                                                          const WarmUpOptions& warm_up) const {
  const absl::StatusOr<VersionManifest> manifest = ReadManifest(options_.store, name, version);
  if (!manifest.ok()) return WithStoreReason(manifest.status());
  DW_RETURN_IF_ERROR(CheckBudget(absl::StrCat(name, " ", version), manifest->bytes));
  DW_ASSIGN_OR_RETURN(Restorer model, ParseStored(name, version));
  return Ready(std::move(model), manifest->bytes, VersionPath(options_.store, name, version),
               warm_up);
}

// The name of the folder counts, whatever the checkpoint calls itself. The bytes are those that were
// stored: if they are no model, nothing is torn, the model fails.
absl::StatusOr<Restorer> LiveModels::ParseStored(const std::string& name,
                                                 const std::string& version) const {
  const absl::StatusOr<std::string> bytes = ReadVersion(options_.store, name, version);
  if (!bytes.ok()) return WithStoreReason(bytes.status());
  const absl::StatusOr<Checkpoint> checkpoint = ParseCheckpoint(*bytes);
  if (!checkpoint.ok()) {
    const absl::Status status =
        Annotate(checkpoint.status(), VersionPath(options_.store, name, version));
    if (!absl::IsInvalidArgument(status)) return WithStoreReason(status);
    return WithReason(absl::InternalError(status.message()), "MODEL_FAILED");
  }
  DW_ASSIGN_OR_RETURN(Restorer model,
                      MakeRestorer(*checkpoint, {options_.device, options_.precision}));
  model.spec.name = name;
  return model;
}

absl::Status LiveModels::CheckBudget(const std::string& what, int64_t bytes) const {
  int64_t live = 0;
  {
    MutexLock lock(mutex_);
    for (const auto& [name, versions] : models_)
      live += versions.live.bytes + versions.canary.bytes;
  }
  if (live + bytes <= options_.max_model_bytes) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "%s has %d bytes of weights beside %d bytes of live models; "
                        "max_model_bytes is %d",
                        what, bytes, live, options_.max_model_bytes)),
                    "MODEL_BUDGET");
}

absl::StatusOr<LiveModels::Loaded> LiveModels::Ready(Restorer model, int64_t bytes,
                                                     const std::string& path,
                                                     const WarmUpOptions& warm_up) const {
  DW_RETURN_IF_ERROR(Validate(model.spec.tile));
  PinnedModel ready{.cost = std::make_shared<BatchCost>(),
                    .map_cost = std::make_shared<BatchCost>()};
  WarmUpOptions logged = warm_up;
  logged.log = options_.log;
  const absl::Status status = WarmUp(model, logged, *ready.cost, *ready.map_cost);
  if (IsDeviceFailure(status) && options_.on_device_failure) options_.on_device_failure(status);
  DW_RETURN_IF_ERROR(status);
  ready.info = InfoOf(model.spec);
  ready.restorer = std::make_shared<const Restorer>(std::move(model));
  return Loaded{std::move(ready), bytes, path};
}

LiveModelInfo LiveModels::Install(Restorer model, const Executor& executor) {
  const LiveModelInfo info = InfoOf(model.spec);
  Loaded loaded;
  loaded.model = {.restorer = std::make_shared<const Restorer>(std::move(model)),
                  .cost = std::make_shared<BatchCost>(),
                  .map_cost = std::make_shared<BatchCost>(),
                  .info = info};
  return GoLive(info.name, std::move(loaded), executor);
}

// Whatever was on trial is so no more.
LiveModelInfo LiveModels::GoLive(const std::string& name, Loaded loaded, const Executor& executor) {
  loaded.model.info.live_since = absl::Now();
  return Change(name, executor, [&loaded](Versions& versions) {
    versions.live = std::move(loaded);
    versions.canary = {};
  });
}

// Changes all that a name has at once; what is in use no more is freed on the executor.
LiveModelInfo LiveModels::Change(const std::string& name, const Executor& executor,
                                 const std::function<void(Versions&)>& change) {
  Versions before;
  LiveModelInfo info;
  std::array<std::shared_ptr<const Restorer>, 2> kept;
  {
    MutexLock lock(mutex_);
    Versions& versions = models_[name];
    before = versions;
    change(versions);
    if (default_name_.empty()) default_name_ = name;
    info = Describe(versions.live).info;
    kept = {versions.live.model.restorer, versions.canary.model.restorer};
    CountSeries(name, before, versions);
  }
  for (Loaded* const loaded : {&before.live, &before.canary}) {
    std::shared_ptr<const Restorer>& old = loaded->model.restorer;
    if (old == nullptr || old == kept[0] || old == kept[1]) continue;
    executor([retired = std::move(old)]() mutable { retired.reset(); });
  }
  MutexLock lock(watch_mutex_);
  if (watch_) watch_(name);
  return info;
}

// A version that stays keeps its series, and its counts.
void LiveModels::CountSeries(const std::string& name, const Versions& before,
                             const Versions& after) {
  const auto of = [](const Versions& versions) {
    std::set<std::string> there;
    for (const Loaded* const loaded : {&versions.live, &versions.canary}) {
      if (loaded->there()) there.insert(loaded->version());
    }
    return there;
  };
  const std::set<std::string> old = of(before), now = of(after);
  for (const std::string& version : old) {
    if (!now.contains(version)) metrics_.RemoveModel(name, version);
  }
  for (const std::string& version : now) {
    if (!old.contains(version)) metrics_.AddModel(name, version);
  }
  for (const Loaded* const loaded : {&after.live, &after.canary}) {
    metrics_.DeclareRouting(loaded->model.info.layer_experts);
  }
}

void LiveModels::Log(const std::string& message) const {
  if (options_.log) options_.log(message);
}

void LiveModels::LogOnce(const std::string& message) {
  {
    MutexLock lock(mutex_);
    if (logged_.size() >= kMostLogged || !logged_.insert(message).second) return;
  }
  Log(message);
}

// --- asking ---

absl::StatusOr<const LiveModels::Versions*> LiveModels::Lookup(std::string_view name) const {
  if (models_.empty()) {
    return WithReason(absl::UnavailableError("no model is live"), "NO_LIVE_MODEL");
  }
  const bool is_default = name.empty() || name == "default";
  const auto found = models_.find(is_default ? std::string_view(default_name_) : name);
  if (found != models_.end()) return &found->second;
  std::vector<std::string> live;
  for (const auto& [other, versions] : models_) live.push_back(other);
  return WithReason(absl::NotFoundError(absl::StrCat("unknown model '", ShownText(name),
                                                     "'; live: ", ShownNames(live))),
                    "UNKNOWN_MODEL");
}

absl::StatusOr<PinnedModel> LiveModels::Pin(std::string_view name) const {
  MutexLock lock(mutex_);
  DW_ASSIGN_OR_RETURN(const Versions* const versions, Lookup(name));
  if (!versions->canary.there()) return Describe(versions->live);
  const uint64_t turn = std::exchange(versions->turn, versions->turn + kGoldenStep);
  const double share = std::ldexp(versions->canary_percent / 100, 64);
  return Describe(turn < static_cast<uint64_t>(share) ? versions->canary : versions->live);
}

absl::StatusOr<PinnedModel> LiveModels::Pin(std::string_view name, std::string_view version) const {
  if (version.empty()) return Pin(name);
  MutexLock lock(mutex_);
  DW_ASSIGN_OR_RETURN(const Versions* const versions, Lookup(name));
  if (versions->live.version() == version) return Describe(versions->live);
  std::vector<std::string> serving = {versions->live.version()};
  if (versions->canary.there()) {
    if (versions->canary.version() == version) return Describe(versions->canary);
    serving.push_back(versions->canary.version());
  }
  return WithReason(absl::NotFoundError(absl::StrFormat(
                        "version '%s' of model '%s' is not live; live: %s", ShownText(version),
                        versions->live.model.info.name, ShownNames(serving))),
                    "UNKNOWN_VERSION");
}

absl::StatusOr<std::vector<LiveModelInfo>> LiveModels::Serving(std::string_view name) const {
  MutexLock lock(mutex_);
  DW_ASSIGN_OR_RETURN(const Versions* const versions, Lookup(name));
  std::vector<LiveModelInfo> serving = {Describe(versions->live).info};
  if (versions->canary.there()) serving.push_back(Describe(versions->canary).info);
  return serving;
}

std::vector<LiveModelInfo> LiveModels::List() const {
  MutexLock lock(mutex_);
  std::vector<LiveModelInfo> list;
  list.reserve(models_.size());
  for (const auto& [name, versions] : models_) list.push_back(Describe(versions.live).info);
  return list;
}

void LiveModels::WatchNames(std::function<void(const std::string&)> watch) {
  MutexLock lock(watch_mutex_);
  watch_ = std::move(watch);
  if (!watch_) return;
  for (const LiveModelInfo& info : List()) watch_(info.name);
}

std::vector<std::string> LiveModels::Names() const {
  std::set<std::string> names;
  for (const LiveModelInfo& info : List()) names.insert(info.name);
  if (!options_.store.empty()) {
    for (std::string& name : ListStoredNames(options_.store)) names.insert(std::move(name));
  }
  return {names.begin(), names.end()};
}

absl::StatusOr<ModelStatus> LiveModels::StatusOf(const std::string& name) {
  DW_RETURN_IF_ERROR(CheckKnown(name));
  ModelStatus status{.name = name};
  if (const std::optional<Standing> standing = Find(name); standing.has_value()) {
    status.live = standing->info;
    status.canary_version = standing->canary;
    status.canary_tasks = standing->canary_tasks;
    status.canary_percent = standing->canary_percent;
  }
  if (options_.store.empty()) return status;
  const auto record = ReadLive(options_.store, name);
  if (record.ok() && record->has_value()) status.previous_version = (*record)->previous;
  if (!record.ok()) LogOnce(record.status().ToString());
  VersionList list = ListVersions(options_.store, name);
  for (const absl::Status& skipped : list.skipped) LogOnce(skipped.ToString());
  status.versions = std::move(list.versions);
  return status;
}

absl::StatusOr<std::string> LiveModels::CheckpointPath(const std::string& name,
                                                       const std::string& version) const {
  if (!version.empty()) {
    DW_RETURN_IF_ERROR(CheckKnown(name));
    const auto manifest = ReadManifest(options_.store, name, version);
    if (!manifest.ok()) return WithStoreReason(manifest.status());
    return VersionPath(options_.store, name, version);
  }
  if (const std::optional<Standing> live = Find(name); live.has_value()) {
    if (!live->path.empty()) return live->path;
    return absl::FailedPreconditionError(absl::StrFormat("model '%s' has no file", name));
  }
  const absl::StatusOr<std::string> path = FindByName(options_.folders, name);
  return path.ok() ? path : WithReason(path.status(), "UNKNOWN_MODEL");
}

std::optional<LiveModels::Standing> LiveModels::Find(std::string_view name) const {
  MutexLock lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return std::nullopt;
  const Versions& versions = found->second;
  Standing standing{.info = Describe(versions.live).info, .path = versions.live.path};
  if (versions.canary.there()) {
    standing.canary = versions.canary.version();
    standing.canary_tasks = versions.canary.model.info.tasks;
    standing.canary_percent = versions.canary_percent;
  }
  return standing;
}

std::string LiveModels::LiveVersion(const std::string& name) const {
  const std::optional<Standing> live = Find(name);
  return live.has_value() ? live->info.version : "";
}

PinnedModel LiveModels::Describe(const Loaded& loaded) const {
  PinnedModel model = loaded.model;
  model.info.is_default = model.info.name == default_name_;
  return model;
}

absl::Status CheckDevice(const std::string& device) { return ResolveDevice(device).status(); }

std::function<int64_t()> GpuMemoryProbe() {
  if (!at::hasCUDA()) return nullptr;
  return [] {
    const absl::StatusOr<int64_t> bytes = CatchTorch("GPU memory", []() -> absl::StatusOr<int64_t> {
      return c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(0).reserved_bytes[0].current;
    });
    return bytes.value_or(0);  // an unused device has no statistics
  };
}

}  // namespace deweather
