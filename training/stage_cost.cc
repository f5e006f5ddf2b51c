#include "training/stage_cost.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "model/parameters.h"

namespace deweather {
namespace {

// What of a parameter's name tells its stage, first match first.
constexpr std::array<std::pair<absl::string_view, const char*>, 9> kStageOfName = {
    {{"head.", "head"},
     {"embed.", "embed"},
     {".attention.", "attention"},
     {".router.", "router"},
     {".stem.", "stem"},
     {".experts.", "experts"},
     {".ffn.", "ffn"},
     {"expand.", "expand"},
     {"tail.", "tail"}}};

std::string StageOf(const std::string& name) {
  for (const auto& [part, stage] : kStageOfName) {
    if (absl::StrContains(name, part)) return stage;
  }
  return "";
}

struct Sizes {
  int64_t pixels, tokens;  // of the batch
  int bytes_a_value;
};

// A convolution or linear layer: rows of `in` values become rows of `out`.
StageCost CostOfLayer(const ModelConfig& config, const ParameterSpec& spec, const Sizes& sizes) {
  const std::vector<int64_t>& shape = spec.shape;
  const std::string stage = StageOf(spec.name);
  const bool patches = spec.name == "embed.conv.weight";
  const bool stacked = shape.size() == 3, pixels = shape.size() == 4 && !patches;
  const int64_t used = !stacked            ? 1
                       : stage == "router" ? 1
                                           : std::min<int64_t>(config.kept, shape[0]);
  const int64_t rows = (pixels ? sizes.pixels : sizes.tokens) * used;
  const int64_t out = shape[stacked ? 1 : 0],
                weights_a_row = spec.elements() / (stacked ? shape[0] : 1);
  const int64_t in = pixels ? shape[1] : weights_a_row / out;
  const int bytes = stage == "router" ? 4 : sizes.bytes_a_value;
  return {stage, rows * weights_a_row, bytes * (spec.elements() + rows * (in + out))};
}

// q k^T and (softmax) v of every block; reads q, k and v and writes as much as one of them.
StageCost CostOfAttention(const ModelConfig& config, int batch, const Sizes& sizes) {
  const int64_t width = int64_t{config.depth} * config.heads * config.head_dim;
  return {"attention", 2 * width * sizes.tokens * (sizes.tokens / batch),
          4 * width * sizes.tokens * sizes.bytes_a_value};
}

void Add(const StageCost& cost, std::vector<StageCost>& stages) {
  auto found = std::find_if(stages.begin(), stages.end(),
                            [&](const StageCost& stage) { return stage.stage == cost.stage; });
  if (found == stages.end()) {
    stages.push_back(cost);
    return;
  }
  found->macs += cost.macs;
  found->bytes += cost.bytes;
}

}  // namespace

std::vector<StageCost> CountStages(const ModelConfig& config, int size_px, int batch,
                                   int bytes_a_value) {
  const int64_t pixels = int64_t{batch} * size_px * size_px;
  const Sizes sizes{pixels, pixels / (config.patch * config.patch), bytes_a_value};
  std::vector<StageCost> stages;
  for (const ParameterSpec& spec : ListParameters(config)) {
    if (spec.shape.size() < 2 || !absl::EndsWith(spec.name, ".weight")) continue;
    if (absl::EndsWith(spec.name, "norm.weight")) continue;
    Add(CostOfLayer(config, spec, sizes), stages);
  }
  Add(CostOfAttention(config, batch, sizes), stages);
  return stages;
}

}  // namespace deweather
