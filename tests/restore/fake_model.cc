#include "tests/restore/fake_model.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

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

// Routes tile `b` alike in all layers.
void RouteTile(const FakeModel& fake, const at::Tensor& tile, int64_t b, Restored& out) {
  const int64_t rows = tile.size(1) / kPatch;
  const int64_t columns = tile.size(2) / kPatch;
  for (int64_t token = 0; token < rows * columns; ++token) {
    const int first = ExpertOf(MeanRed(tile, token / columns, token % columns), fake.experts);
    out.expert_map[b][token / columns][token % columns] = first;
    for (int64_t cell = 0; cell < int64_t{fake.layers} * fake.kept; ++cell) {
      const int64_t layer = cell / fake.kept;
      const int64_t expert = (first + cell % fake.kept) % fake.experts;
      out.tokens[b][layer][expert] += 1;
      out.gate[b][layer][expert] += 1.0 / fake.kept;
    }
  }
}

void Route(const FakeModel& fake, const at::Tensor& tiles, Restored& out) {
  const int64_t batch = tiles.size(0);
  out.tokens = at::zeros({batch, fake.layers, fake.experts}, at::kLong);
  out.gate = at::zeros({batch, fake.layers, fake.experts}, at::kDouble);
  out.entropy = at::full({batch, fake.layers}, 0.5, at::kDouble);
  out.expert_map = at::zeros({batch, tiles.size(2) / kPatch, tiles.size(3) / kPatch}, at::kByte);
  for (int64_t b = 0; b < batch; ++b) RouteTile(fake, tiles[b], b, out);
}

void PlantNan(at::Tensor& restored, const at::Tensor& tiles) {
  for (int64_t b = 0; b < tiles.size(0); ++b) {
    if (tiles[b][0][0][0].item<float>() < 1.0f) continue;
    restored[b][1][2][3] = std::numeric_limits<float>::quiet_NaN();
  }
}

absl::StatusOr<Restored> Run(const FakeModel& fake, const at::Tensor& tiles,
                             const ForwardOptions& options) {
  if (fake.on_run) fake.on_run(static_cast<int>(tiles.size(0)));
  Restored out;
  out.tiles = tiles.mul(fake.gain);
  if (fake.nan_for_white) PlantNan(out.tiles, tiles);
  if (fake.wrong_shape) out.tiles = out.tiles.narrow(2, 1, tiles.size(2) - 1);
  if (fake.layers > 0) Route(fake, tiles, out);
  if (!options.expert_map) out.expert_map = at::Tensor();
  return out;
}

}  // namespace

int ExpertOf(float value, int experts) {
  return std::clamp(static_cast<int>(value * static_cast<float>(experts)), 0, experts - 1);
}

LiveModelInfo Install(LiveModels& models, const FakeModel& fake, const Executor& executor) {
  Restorer restorer;
  restorer.spec = {.name = fake.name,
                   .version = fake.version,
                   .tile = fake.tile,
                   .routing = {.unit = RoutingUnit::kToken,
                               .layers = fake.layers,
                               .experts = fake.experts,
                               .kept = fake.kept}};
  restorer.forward = [fake](const at::Tensor& tiles, const ForwardOptions& options) {
    return Run(fake, tiles, options);
  };
  return models.Install(std::move(restorer), executor);
}

}  // namespace deweather
