#include "tests/restore/fake_model.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "model/base/random_key.h"
#include "model/restorer.h"

namespace deweather {
namespace {

constexpr int64_t kPatch = 8;

float MeanRed(const at::Tensor& tile, int64_t row, int64_t column) {  // [3,H,W]
  return tile.select(0, 0)
      .narrow(0, row * kPatch, kPatch)
      .narrow(1, column * kPatch, kPatch)
      .mean()
      .item<float>();
}

int ExpertsOf(const FakeModel& fake, int64_t layer) {
  if (fake.experts_by_layer.empty()) return fake.experts;
  return fake.experts_by_layer[static_cast<size_t>(layer)];
}

// Routes tile `b` alike in all layers that have as many experts.
void RouteTile(const FakeModel& fake, const at::Tensor& tile, int64_t b, int task, Restored& out) {
  const int64_t rows = tile.size(1) / kPatch;
  const int64_t columns = tile.size(2) / kPatch;
  for (int64_t token = 0; token < rows * columns; ++token) {
    const int first = ExpertOf(MeanRed(tile, token / columns, token % columns), fake.experts);
    out.expert_map[b][token / columns][token % columns] = (first + task) % fake.experts;
    for (int64_t cell = 0; cell < int64_t{fake.layers} * fake.kept; ++cell) {
      const int64_t layer = cell / fake.kept;
      const int64_t expert = (first + task + cell % fake.kept) % ExpertsOf(fake, layer);
      out.tokens[b][layer][expert] += 1;
      out.gate[b][layer][expert] += 1.0 / fake.kept;
    }
  }
}

void Route(const FakeModel& fake, const at::Tensor& tiles, const std::vector<int>& tasks,
           Restored& out) {
  const int64_t batch = tiles.size(0);
  out.tokens = at::zeros({batch, fake.layers, fake.experts}, at::kLong);
  out.gate = at::zeros({batch, fake.layers, fake.experts}, at::kDouble);
  out.entropy = at::full({batch, fake.layers}, 0.5, at::kDouble);
  out.expert_map = at::zeros({batch, tiles.size(2) / kPatch, tiles.size(3) / kPatch}, at::kByte);
  for (int64_t b = 0; b < batch; ++b) {
    RouteTile(fake, tiles[b], b, tasks.empty() ? 0 : tasks[static_cast<size_t>(b)], out);
  }
}

at::Tensor Uncertainty(const FakeModel& fake, const at::Tensor& tiles,
                       const std::vector<uint64_t>& keys) {
  const int64_t rows = tiles.size(2) / kPatch;
  const int64_t columns = tiles.size(3) / kPatch;
  at::Tensor all = at::zeros({tiles.size(0), fake.layers, rows, columns}, at::kFloat);
  auto* value = all.mutable_data_ptr<float>();
  for (const uint64_t key : keys) {
    for (int64_t layer = 0; layer < fake.layers; ++layer) {
      for (int64_t token = 0; token < rows * columns; ++token) {
        *value++ = FakeUncertainty(key, layer, token);
      }
    }
  }
  return all;
}

// As a real model does.
absl::Status CheckOptions(const FakeModel& fake, size_t batch, const ForwardOptions& options) {
  if (options.tasks.size() != (fake.tasks.empty() ? 0 : batch)) {
    return absl::InvalidArgumentError("not a task for each tile");
  }
  if (options.uncertainty && options.keys.size() != batch) {
    return absl::InvalidArgumentError("not a key for each tile");
  }
  return absl::OkStatus();
}

// In `restored` [B,_,_,_].
void PlantNan(at::Tensor& restored, const at::Tensor& tiles) {
  for (int64_t b = 0; b < tiles.size(0); ++b) {
    if (tiles[b][0][0][0].item<float>() < 1.0f) continue;
    restored[b][0][1][0] = std::numeric_limits<float>::quiet_NaN();
  }
}

absl::StatusOr<Restored> Run(const FakeModel& fake, const at::Tensor& tiles,
                             const ForwardOptions& options) {
  if (fake.on_run) fake.on_run(static_cast<int>(tiles.size(0)));
  if (fake.on_options) fake.on_options(options.tasks, options.uncertainty);
  const absl::Status status = CheckOptions(fake, static_cast<size_t>(tiles.size(0)), options);
  if (!status.ok()) return status;
  Restored out;
  out.tiles = tiles.mul(fake.gain);
  if (fake.nan_for_white) PlantNan(out.tiles, tiles);
  if (std::ranges::find(options.tasks, fake.broken_task) != options.tasks.end()) {
    out.tiles = at::full(tiles.sizes(), std::numeric_limits<float>::quiet_NaN());
  }
  if (fake.wrong_shape) out.tiles = out.tiles.narrow(2, 1, tiles.size(2) - 1);
  if (fake.layers > 0) Route(fake, tiles, options.tasks, out);
  if (!options.expert_map) out.expert_map = at::Tensor();
  if (options.uncertainty && !fake.no_map) {
    out.uncertainty = Uncertainty(fake, tiles, options.keys);
  }
  if (fake.nan_map_for_white && options.uncertainty) PlantNan(out.uncertainty, tiles);
  if (fake.wrong_map) out.uncertainty = out.uncertainty.narrow(2, 1, tiles.size(2) / kPatch - 1);
  return out;
}

Restorer RestorerOf(const FakeModel& fake) {
  Restorer restorer;
  restorer.spec = {.name = fake.name,
                   .version = fake.version,
                   .tile = fake.tile,
                   .routing = {.unit = fake.per_image ? RoutingUnit::kImage : RoutingUnit::kToken,
                               .layers = fake.layers,
                               .experts = fake.experts,
                               .kept = fake.kept,
                               .experts_by_layer = fake.experts_by_layer},
                   .tasks = fake.tasks};
  restorer.forward = [fake](const at::Tensor& tiles, const ForwardOptions& options) {
    return Run(fake, tiles, options);
  };
  if (fake.on_record == nullptr) return restorer;
  restorer.record = [record = fake.on_record](const at::Tensor& tiles) {
    return record(static_cast<int>(tiles.size(0)));
  };
  return restorer;
}

}  // namespace

int ExpertOf(float value, int experts) {
  return std::clamp(static_cast<int>(value * static_cast<float>(experts)), 0, experts - 1);
}

float FakeUncertainty(uint64_t key, int64_t layer, int64_t token) {
  const uint64_t bits =
      RandomKey({key, static_cast<uint64_t>(layer), static_cast<uint64_t>(token)});
  return static_cast<float>(bits >> 40) / static_cast<float>(1 << 24);
}

std::shared_ptr<const Restorer> MakeFake(const FakeModel& fake) {
  return std::make_shared<const Restorer>(RestorerOf(fake));
}

LiveModelInfo Install(LiveModels& models, const FakeModel& fake, const Executor& executor) {
  return models.Install(RestorerOf(fake), executor);
}

}  // namespace deweather
