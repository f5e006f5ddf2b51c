#include "server/restore/live_models.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceType.h>

#include <filesystem>
#include <future>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "model/base/status_macros.h"
#include "model/restorer.h"
#include "model/torch_errors.h"
#include "server/restore/error_reason.h"
#include "server/restore/metrics.h"

namespace deweather {
namespace {

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

// One forward pass over black tiles. Its routing counts nowhere.
absl::Status RunOnce(const Restorer& model, int batch) {
  return CatchTorch(model.spec.name, [&]() -> absl::Status {
    const int side = model.spec.tile.tile_px;
    const at::Tensor tiles = at::zeros({batch, 3, side, side}, at::kFloat);
    DW_ASSIGN_OR_RETURN(const Restored restored, model.forward(tiles, {}));
    if (restored.tiles.sizes() == tiles.sizes()) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(model.spec.name, " changes the shape of its tiles"));
  });
}

// Every size once, each a task of its own, so that batches of live models run in between.
absl::Status WarmUp(const Restorer& model, const std::vector<int>& batch_sizes,
                    const Executor& executor) {
  for (const int size : batch_sizes) {
    const auto warmed = std::make_shared<std::promise<absl::Status>>();
    executor([&model, size, warmed] { warmed->set_value(RunOnce(model, size)); });
    DW_RETURN_IF_ERROR(warmed->get_future().get());
  }
  return absl::OkStatus();
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

}  // namespace

LiveModels::LiveModels(const LiveModelsOptions& options, Metrics& metrics)
    : options_(options), metrics_(metrics) {
  if (options.threads > 0) at::set_num_threads(options.threads);
}

LiveModels::~LiveModels() = default;

absl::StatusOr<LiveModelInfo> LiveModels::Load(const std::string& what,
                                               const std::vector<int>& batch_sizes,
                                               const Executor& executor) {
  DW_ASSIGN_OR_RETURN(Restorer model, Read(what));
  DW_RETURN_IF_ERROR(Validate(model.spec.tile));
  DW_RETURN_IF_ERROR(WarmUp(model, batch_sizes, executor));
  return Install(std::move(model), executor);
}

absl::StatusOr<Restorer> LiveModels::Read(const std::string& what) const {
  if (what == "identity") return IdentityRestorer(TileSpec{});
  std::string path = what;
  if (!IsPath(what)) {
    DW_ASSIGN_OR_RETURN(path, FindByName(options_.folders, what));
  }
  return LoadRestorer(path, {.device = options_.device, .precision = options_.precision});
}

LiveModelInfo LiveModels::Install(Restorer model, const Executor& executor) {
  const LiveModelInfo info = InfoOf(model.spec);
  metrics_.DeclareRouting(info.layers, info.experts);
  PinnedModel next{std::make_shared<const Restorer>(std::move(model)), std::make_shared<BatchCost>(), info};
  MutexLock lock(mutex_);
  Versions& versions = models_[info.name];
  std::swap(versions.live, next);
  if (default_name_.empty()) default_name_ = info.name;
  if (next.restorer != nullptr) {
    metrics_.RemoveModel(next.info.name, next.info.version);
    executor([retired = std::move(next.restorer)] {});
  }
  metrics_.AddModel(info.name, info.version);
  return Describe(versions).info;
}

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
