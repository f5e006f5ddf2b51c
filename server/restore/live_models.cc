#include "server/restore/live_models.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceType.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "model/base/device_failure.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/restorer.h"
#include "model/base/sha256.h"
#include "model/torch_errors.h"
#include "model/base/error_reason.h"
#include "server/restore/metrics.h"
#include "server/restore/warm_up.h"

namespace deweather {
namespace {

constexpr absl::Duration kRetryFollowing = absl::Minutes(1);
constexpr size_t kMostLogged = 1000;

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

LiveModelInfo InfoOf(const RestorerSpec& spec) {
  return {.name = spec.name,
          .version = spec.version,
          .live_since = absl::Now(),
          .tile = spec.tile,
          .layers = spec.routing.layers,
          .experts = spec.routing.experts,
          .kept = spec.routing.kept,
          .per_image = spec.routing.unit == RoutingUnit::kImage};
}

// The store's errors with the words that programs know.
absl::Status WithStoreReason(const absl::Status& status) {
  if (absl::IsNotFound(status)) return WithReason(status, "UNKNOWN_VERSION");
  if (absl::IsDataLoss(status)) return WithReason(status, "TORN_VERSION");
  return status;
}

}  // namespace

// A model on its way to be live.
struct LiveModels::Loaded {
  Restorer model = {};
  int64_t bytes = 0;      // of its weights
  std::string path = {};  // of its file; empty: none
  std::shared_ptr<BatchCost> cost = std::make_shared<BatchCost>();
};

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
  return Swap(std::move(loaded), executor);
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
  // What was asked for by path wins over the record; what was asked for by name is the record's, unless
  // that has changed since: then Follow has news.
  if (const std::optional<Live> live = Find(name); live.has_value()) {
    const bool stored = live->path == VersionPath(options_.store, name, live->info.version);
    return Remember(name, stored ? live->info.version : (*record)->version);
  }
  Remember(name, (*record)->version);
  absl::StatusOr<Loaded> loaded = ReadStored(name, (*record)->version, warm_up);
  if (loaded.ok()) {
    Swap(*std::move(loaded), warm_up.executor);
    return;
  }
  Remember(name, (*record)->version, absl::Now());
  Log(absl::StrFormat("model %s is left out: %s", name, loaded.status().ToString()));
}

absl::StatusOr<LiveModels::Loaded> LiveModels::Read(const std::string& what,
                                                    const WarmUpOptions& warm_up) const {
  if (what == "identity") {
    Loaded loaded{IdentityRestorer(TileSpec{})};
    DW_RETURN_IF_ERROR(Ready(loaded, warm_up));
    return loaded;
  }
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
  Loaded loaded{.model = {}, .bytes = FileBytes(path), .path = path};
  DW_RETURN_IF_ERROR(CheckBudget(path, loaded.bytes));
  DW_ASSIGN_OR_RETURN(loaded.model, LoadRestorer(path, {options_.device, options_.precision}));
  DW_RETURN_IF_ERROR(Ready(loaded, warm_up));
  return loaded;
}

// The name of the folder counts, whatever the checkpoint calls itself.
absl::StatusOr<LiveModels::Loaded> LiveModels::ReadStored(const std::string& name,
                                                          const std::string& version,
                                                          const WarmUpOptions& warm_up) const {
  const absl::StatusOr<VersionManifest> manifest = ReadManifest(options_.store, name, version);
  if (!manifest.ok()) return WithStoreReason(manifest.status());
  Loaded loaded{
      .model = {}, .bytes = manifest->bytes, .path = VersionPath(options_.store, name, version)};
  DW_RETURN_IF_ERROR(CheckBudget(absl::StrCat(name, " ", version), loaded.bytes));
  const absl::StatusOr<std::string> bytes = ReadVersion(options_.store, name, version);
  if (!bytes.ok()) return WithStoreReason(bytes.status());
  const absl::StatusOr<Checkpoint> checkpoint = ParseCheckpoint(*bytes);
  if (!checkpoint.ok()) {
    const absl::Status& status = checkpoint.status();
    return absl::Status(status.code(), absl::StrCat("'", loaded.path, "': ", status.message()));
  }
  DW_ASSIGN_OR_RETURN(loaded.model,
                      MakeRestorer(*checkpoint, {options_.device, options_.precision}));
  loaded.model.spec.name = name;
  DW_RETURN_IF_ERROR(Ready(loaded, warm_up));
  return loaded;
}

absl::Status LiveModels::CheckBudget(const std::string& what, int64_t bytes) const {
  int64_t live = 0;
  {
    MutexLock lock(mutex_);
    for (const auto& [name, versions] : models_) live += versions.bytes;
  }
  if (live + bytes <= options_.max_model_bytes) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "%s has %d bytes of weights beside %d bytes of live models; "
                        "max_model_bytes is %d",
                        what, bytes, live, options_.max_model_bytes)),
                    "MODEL_BUDGET");
}

absl::Status LiveModels::Ready(Loaded& loaded, const WarmUpOptions& warm_up) const {
  DW_RETURN_IF_ERROR(Validate(loaded.model.spec.tile));
  const absl::Status status = WarmUp(loaded.model, warm_up, *loaded.cost);
  if (IsDeviceFailure(status) && options_.on_device_failure) options_.on_device_failure(status);
  return status;
}

LiveModelInfo LiveModels::Install(Restorer model, const Executor& executor) {
  return Swap({std::move(model)}, executor);
}

LiveModelInfo LiveModels::Swap(Loaded loaded, const Executor& executor) {
  LiveModelInfo info = InfoOf(loaded.model.spec);
  metrics_.DeclareRouting(info.layers, info.experts);
  Versions other{
      {std::make_shared<const Restorer>(std::move(loaded.model)), std::move(loaded.cost), info},
      loaded.bytes,
      std::move(loaded.path)};
  {
    MutexLock lock(mutex_);
    Versions& versions = models_[info.name];
    std::swap(versions, other);
    if (default_name_.empty()) default_name_ = info.name;
    info = Describe(versions).info;
    if (other.live.restorer != nullptr) metrics_.RemoveModel(info.name, other.live.info.version);
    metrics_.AddModel(info.name, info.version);
  }
  if (other.live.restorer != nullptr) {
    executor([retired = std::move(other.live.restorer)]() mutable { retired.reset(); });
  }
  return info;
}

// --- promotion ---

absl::Status LiveModels::BeginPromotion() {
  if (options_.store.empty()) {
    return WithReason(
        absl::FailedPreconditionError("no version can be promoted: the server has no data folder"),
        "NO_DATA_FOLDER");
  }
  MutexLock lock(mutex_);
  if (std::exchange(promoting_, true)) {
    return WithReason(absl::AbortedError("another promotion is under way"), "PROMOTION_RUNNING");
  }
  return absl::OkStatus();
}

void LiveModels::EndPromotion() {
  MutexLock lock(mutex_);
  promoting_ = false;
}

absl::StatusOr<LiveModelInfo> LiveModels::Promote(const std::string& name,
                                                  const std::string& version,
                                                  const std::vector<int>& batch_sizes,
                                                  const Executor& executor, std::stop_token stop) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  if (!IsVersion(version)) {
    return absl::InvalidArgumentError("version is not made of 12 hexadecimal digits in lower case");
  }
  DW_RETURN_IF_ERROR(BeginPromotion());
  const absl::Cleanup end = [this] { EndPromotion(); };
  return PromoteInTurn(name, version, {batch_sizes, executor, std::move(stop)});
}

absl::StatusOr<LiveModelInfo> LiveModels::Rollback(const std::string& name,
                                                   const std::vector<int>& batch_sizes,
                                                   const Executor& executor, std::stop_token stop) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  DW_RETURN_IF_ERROR(BeginPromotion());
  const absl::Cleanup end = [this] { EndPromotion(); };
  DW_RETURN_IF_ERROR(CheckKnown(name));
  DW_ASSIGN_OR_RETURN(const auto record, ReadLive(options_.store, name));
  if (!record.has_value() || record->previous.empty()) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrFormat("model '%s' has no previous version", name)),
        "NO_PREVIOUS_VERSION");
  }
  return PromoteInTurn(name, record->previous, {batch_sizes, executor, std::move(stop)});
}

absl::StatusOr<LiveModelInfo> LiveModels::PromoteInTurn(const std::string& name,
                                                        const std::string& version,
                                                        const WarmUpOptions& warm_up) {
  const std::optional<Live> live = Find(name);
  if (live.has_value() && live->info.version == version) return Keep(name, version);
  DW_RETURN_IF_ERROR(CheckKnown(name));
  DW_ASSIGN_OR_RETURN(Loaded loaded, ReadStored(name, version, warm_up));
  DW_RETURN_IF_ERROR(WriteRecord(name, version));
  return Swap(std::move(loaded), warm_up.executor);
}

// It is live, but the file may not say so yet.
absl::StatusOr<LiveModelInfo> LiveModels::Keep(const std::string& name,
                                               const std::string& version) {
  DW_ASSIGN_OR_RETURN(const auto record, ReadLive(options_.store, name));
  if (!record.has_value() || record->version != version) {
    DW_RETURN_IF_ERROR(WriteRecord(name, version));
  }
  return Find(name)->info;  // no model ever ceases to be live
}

absl::Status LiveModels::WriteRecord(const std::string& name, const std::string& version) {
  const auto record = ReadLive(options_.store, name);  // a torn one is replaced
  std::string previous = StoreLive(name);
  if (previous == version) {
    previous = record.ok() && record->has_value() ? (*record)->version : "";
  }
  DW_RETURN_IF_ERROR(WriteLive(options_.store, name, {version, previous}));
  Remember(name, version);
  return absl::OkStatus();
}

// The live version, which is in the store when this returns; empty if there is none or it cannot be
// stored: nothing can be rolled back to it then.
std::string LiveModels::StoreLive(const std::string& name) {
  const std::optional<Live> live = Find(name);
  if (!live.has_value()) return "";
  const std::string& version = live->info.version;
  if (!IsVersion(version)) return "";
  if (ReadManifest(options_.store, name, version).ok()) return version;
  absl::StatusOr<std::string> bytes = ReadFile(live->path);
  if (bytes.ok() && Sha256Hex(*bytes).starts_with(version)) {
    const std::string file = std::filesystem::path(live->path).filename().string();
    const absl::Status added =
        AddVersion(options_.store, name, *bytes, absl::StrCat("copy of ", file), absl::Now())
            .status();
    if (added.ok()) return version;
    bytes = added;
  }
  Log(absl::StrFormat("model %s cannot be rolled back to version %s: %s", name, version,
                      bytes.ok() ? "its file has changed" : bytes.status().ToString()));
  return "";
}

absl::Status LiveModels::CheckKnown(const std::string& name) const {
  std::error_code ignored;
  const bool stored =
      !options_.store.empty() && ValidateName("name", name).ok() &&
      std::filesystem::is_directory(absl::StrCat(options_.store, "/", name), ignored);
  if (stored || Find(name).has_value()) return absl::OkStatus();
  return WithReason(absl::NotFoundError(absl::StrFormat("unknown model '%s'; known: %s", name,
                                                        absl::StrJoin(Names(), ", "))),
                    "UNKNOWN_MODEL");
}

// --- following ---

void LiveModels::Follow(const std::vector<int>& batch_sizes, const Executor& executor,
                        std::stop_token stop, absl::Time now) {
  if (options_.store.empty()) return;
  const WarmUpOptions warm_up{batch_sizes, executor, std::move(stop)};
  for (const std::string& name : ListStoredNames(options_.store)) {
    // A look takes no turn: it would get in the way of somebody's promotion.
    if (NewsOf(name, now).empty() || !BeginPromotion().ok()) continue;
    const absl::Cleanup end = [this] { EndPromotion(); };
    FollowName(name, warm_up, now);
  }
}

// The version that live.json newly says; empty if there is nothing to do.
std::string LiveModels::NewsOf(const std::string& name, absl::Time now) {
  const auto record = ReadLive(options_.store, name);
  if (!record.ok()) LogOnce(record.status().ToString());
  if (!record.ok() || !record->has_value()) return "";
  const std::string& version = (*record)->version;
  MutexLock lock(mutex_);
  const auto found = followed_.find(name);
  if (found == followed_.end() || found->second.version != version) return version;
  const absl::Time failed = found->second.failed;
  const bool again = failed != absl::InfinitePast() && now >= failed + kRetryFollowing;
  return again ? version : "";
}

// Asks again: a promotion may have ended since.
void LiveModels::FollowName(const std::string& name, const WarmUpOptions& warm_up, absl::Time now) {
  const std::string version = NewsOf(name, now);
  if (version.empty()) return;
  const std::optional<Live> live = Find(name);
  Remember(name, version);
  if (live.has_value() && live->info.version == version) return;
  absl::StatusOr<Loaded> loaded = ReadStored(name, version, warm_up);
  if (loaded.ok()) {
    Swap(*std::move(loaded), warm_up.executor);
    Log(absl::StrFormat("model %s version %s is live, as its live.json says", name, version));
    return;
  }
  Remember(name, version, now);
  LogOnce(absl::StrFormat("model %s version %s cannot be followed: %s", name, version,
                          loaded.status().ToString()));
}

void LiveModels::Remember(const std::string& name, const std::string& version, absl::Time failed) {
  MutexLock lock(mutex_);
  followed_[name] = {version, failed};
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

absl::StatusOr<PinnedModel> LiveModels::Pin(std::string_view name) const {
  MutexLock lock(mutex_);
  if (models_.empty()) {
    return WithReason(absl::UnavailableError("no model is live"), "NO_LIVE_MODEL");
  }
  const bool is_default = name.empty() || name == "default";
  const auto found = models_.find(is_default ? std::string_view(default_name_) : name);
  if (found != models_.end()) return Describe(found->second);
  const std::string known = absl::StrJoin(
      models_, ", ", [](std::string* out, const auto& entry) { out->append(entry.first); });
  return WithReason(
      absl::NotFoundError(absl::StrCat("unknown model '", std::string(name), "'; live: ", known)),
      "UNKNOWN_MODEL");
}

std::vector<LiveModelInfo> LiveModels::List() const {
  MutexLock lock(mutex_);
  std::vector<LiveModelInfo> list;
  list.reserve(models_.size());
  for (const auto& [name, versions] : models_) list.push_back(Describe(versions).info);
  return list;
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
  const std::optional<Live> live = Find(name);
  if (live.has_value()) status.live = live->info;
  if (options_.store.empty()) return status;
  const auto record = ReadLive(options_.store, name);
  if (record.ok() && record->has_value()) status.previous_version = (*record)->previous;
  if (!record.ok()) LogOnce(record.status().ToString());
  VersionList list = ListVersions(options_.store, name);
  for (const absl::Status& skipped : list.skipped) LogOnce(skipped.ToString());
  status.versions = std::move(list.versions);
  return status;
}

std::optional<LiveModels::Live> LiveModels::Find(std::string_view name) const {
  MutexLock lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return std::nullopt;
  return Live{Describe(found->second).info, found->second.path};
}

PinnedModel LiveModels::Describe(const Versions& versions) const {
  PinnedModel model = versions.live;
  model.info.is_default = model.info.name == default_name_;
  return model;
}

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
