#include "server/restore/run_batch.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "model/host_tensor.h"
#include "model/image/rgb_rows.h"
#include "model/restorer.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

using Results = std::vector<absl::StatusOr<RestoredTile>>;

// [B,3,H,W] f32, where the model's device fetches it quickly.
at::Tensor GatherBatch(const RestorerSpec& spec, absl::Span<const Tile> tiles) {
  const TileRect& rect = tiles.front().rect;
  at::Tensor input =
      EmptyOnHost({static_cast<int64_t>(tiles.size()), 3, rect.height, rect.width}, at::kFloat,
                  /*pinned=*/absl::StartsWith(spec.device, "cuda"));
  float* const pixels = input.mutable_data_ptr<float>();
  const int64_t stride = input.stride(0);
  at::parallel_for(0, input.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Tile& tile = tiles[static_cast<size_t>(i)];
      tile.source->Gather(tile.rect, pixels + i * stride);
    }
  });
  return input;
}

// All tiles want their uncertainty, or none does. An expert map that one tile asks for the model makes of
// all; TakeTile gives it to who asked.
ForwardOptions OptionsFor(const RestorerSpec& spec, absl::Span<const Tile> tiles) {
  ForwardOptions options;
  options.uncertainty = tiles.front().uncertainty;
  for (const Tile& tile : tiles) {
    options.expert_map = options.expert_map || tile.expert_map;
    if (options.uncertainty) options.keys.push_back(tile.key);
    if (!spec.tasks.empty()) options.tasks.push_back(tile.task);
  }
  return options;
}

// Every reader below relies on these shapes, types and contiguous rows.
absl::Status CheckShapes(const RestorerSpec& spec, const at::Tensor& input,
                         const Restored& output) {
  const RoutingSpec& routing = spec.routing;
  const auto is = [](const at::Tensor& tensor, at::ScalarType type, at::IntArrayRef sizes) {
    return tensor.defined() && tensor.scalar_type() == type && tensor.sizes() == sizes &&
           tensor.is_contiguous() && tensor.is_cpu();
  };
  const int64_t batch = input.size(0);
  const int64_t rows = input.size(2) / spec.tile.multiple_px;
  const int64_t columns = input.size(3) / spec.tile.multiple_px;
  bool good = is(output.tiles, at::kFloat, input.sizes());
  if (routing.layers > 0) {
    good = good && is(output.tokens, at::kLong, {batch, routing.layers, routing.experts}) &&
           is(output.gate, at::kDouble, {batch, routing.layers, routing.experts}) &&
           is(output.entropy, at::kDouble, {batch, routing.layers});
  }
  if (output.expert_map.defined()) {
    good = good && is(output.expert_map, at::kByte, {batch, rows, columns});
  }
  if (output.uncertainty.defined()) {
    good = good && is(output.uncertainty, at::kFloat, {batch, routing.layers, rows, columns});
  }
  return good ? absl::OkStatus()
              : absl::InternalError("the model's output has an unexpected shape or type");
}

Restored Contiguous(Restored restored) {
  for (at::Tensor* tensor : {&restored.tiles, &restored.tokens, &restored.gate, &restored.entropy,
                             &restored.expert_map, &restored.uncertainty}) {
    if (tensor->defined()) *tensor = tensor->contiguous();
  }
  return restored;
}

absl::StatusOr<Restored> RunModel(const Restorer& model, absl::Span<const Tile> tiles) {
  return CatchTorch(model.spec.name, [&]() -> absl::StatusOr<Restored> {
    const at::Tensor input = GatherBatch(model.spec, tiles);
    const ForwardOptions options = OptionsFor(model.spec, tiles);
    DW_ASSIGN_OR_RETURN(Restored restored, model.forward(input, options));
    if (options.uncertainty && !restored.uncertainty.defined()) {
      return absl::InternalError("the model gave no uncertainty");
    }
    restored = Contiguous(std::move(restored));
    DW_RETURN_IF_ERROR(CheckShapes(model.spec, input, restored));
    return restored;
  });
}

// Row `index` of a [B,...] tensor; empty if it is undefined.
template <typename T>
std::vector<T> Row(const at::Tensor& tensor, int64_t index) {
  if (!tensor.defined()) return {};
  const int64_t size = tensor.numel() / tensor.size(0);
  const T* const begin = tensor.const_data_ptr<T>() + index * size;
  return {begin, begin + size};
}

// Means over layers and over tokens, of row `index` of `maps` [B,L,h,w].
void TakeUncertainty(const at::Tensor& maps, int64_t index, RestoredTile& result) {
  const std::vector<float> values = Row<float>(maps, index);
  const auto layers = static_cast<size_t>(maps.size(1));
  const size_t tokens = values.size() / layers;
  result.uncertainty_map.resize(tokens);
  result.uncertainty.resize(layers);
  for (size_t i = 0; i < values.size(); ++i) {
    result.uncertainty_map[i % tokens] += values[i];
    result.uncertainty[i / tokens] += values[i];
  }
  for (float& value : result.uncertainty_map) value /= static_cast<float>(layers);
  for (double& value : result.uncertainty) value /= static_cast<double>(tokens);
}

absl::StatusOr<RestoredTile> TakeTile(const Restorer& model, const Restored& restored,
                                      const Tile& tile, int64_t index) {
  RestoredTile result{.pixels = Row<float>(restored.tiles, index)};
  if (!AllFinite(result.pixels.data(), result.pixels.size())) {
    return absl::InternalError(absl::StrFormat("%s gave a non-finite pixel in the tile at (%d, %d)",
                                               model.spec.name, tile.rect.x, tile.rect.y));
  }
  if (model.spec.routing.layers == 0) return result;
  result.tokens = Row<int64_t>(restored.tokens, index);
  result.gate = Row<double>(restored.gate, index);
  result.entropy = Row<double>(restored.entropy, index);
  if (tile.expert_map && restored.expert_map.defined()) {
    result.expert_map = Row<uint8_t>(restored.expert_map, index);
  }
  if (!tile.uncertainty) return result;
  TakeUncertainty(restored.uncertainty, index, result);
  if (AllFinite(result.uncertainty_map.data(), result.uncertainty_map.size())) return result;
  return absl::InternalError(
      absl::StrFormat("%s gave a non-finite uncertainty in the tile at (%d, %d)", model.spec.name,
                      tile.rect.x, tile.rect.y));
}

// Of the tiles that have one; empty if none has.
std::vector<double> MeanUncertainty(const Results& results) {
  std::vector<double> mean;
  int tiles = 0;
  for (const absl::StatusOr<RestoredTile>& tile : results) {
    if (!tile.ok() || tile->uncertainty.empty()) continue;
    ++tiles;
    mean.resize(tile->uncertainty.size());
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += tile->uncertainty[i];
  }
  for (double& layer : mean) layer /= tiles;
  return mean;
}

// Sums the tiles that came out well; nullopt where none did or nothing is routed.
std::optional<BatchRouting> SumRouting(const RoutingSpec& spec, const Results& results) {
  const auto cells = static_cast<size_t>(spec.layers) * static_cast<size_t>(spec.experts);
  BatchRouting sum{.layers = spec.layers,
                   .experts = spec.experts,
                   .tokens = std::vector<int64_t>(cells),
                   .gate = std::vector<double>(cells),
                   .entropy = std::vector<double>(static_cast<size_t>(spec.layers)),
                   .uncertainty = MeanUncertainty(results)};
  int good = 0;
  for (const absl::StatusOr<RestoredTile>& tile : results) {
    if (!tile.ok()) continue;
    ++good;
    for (size_t i = 0; i < cells; ++i) {
      sum.tokens[i] += tile->tokens[i];
      sum.gate[i] += tile->gate[i];
    }
    for (size_t i = 0; i < sum.entropy.size(); ++i) sum.entropy[i] += tile->entropy[i];
  }
  if (good == 0 || spec.layers == 0) return std::nullopt;
  for (double& entropy : sum.entropy) entropy /= good;
  return sum;
}

Results RestoreBatch(Metrics& metrics, absl::Span<const Tile> tiles) {
  const Restorer& model = *tiles.front().model;
  const absl::Time start = absl::Now();
  const absl::StatusOr<Restored> restored = RunModel(model, tiles);
  metrics.batch_tiles.Observe(static_cast<double>(tiles.size()));
  for (const Tile& tile : tiles) {
    metrics.stage_seconds(Stage::kQueue).Observe(absl::ToDoubleSeconds(start - tile.enqueued));
  }
  metrics.stage_seconds(Stage::kInfer).Observe(absl::ToDoubleSeconds(absl::Now() - start));
  if (!restored.ok()) return Results(tiles.size(), restored.status());
  Results results;
  results.reserve(tiles.size());
  for (size_t i = 0; i < tiles.size(); ++i) {
    results.push_back(TakeTile(model, *restored, tiles[i], static_cast<int64_t>(i)));
  }
  const std::optional<BatchRouting> routing = SumRouting(model.spec.routing, results);
  if (routing.has_value()) metrics.AddRouting(*routing);
  return results;
}

}  // namespace

RunBatch MakeRunBatch(Metrics& metrics) {
  return [&metrics](absl::Span<const Tile> tiles) { return RestoreBatch(metrics, tiles); };
}

}  // namespace deweather
