// The tensors of a network: their names, shapes and first values, and what it costs to run.
// One list that counting, initialising, checking a checkpoint and binding all read.

#ifndef DEWEATHER_MODEL_PARAMETERS_H_
#define DEWEATHER_MODEL_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/base/model_config.h"

namespace deweather {

enum class Initial { kUniform, kOnes, kZeros };

struct ParameterSpec {
  std::string name;            // e.g. "blocks.0.experts.modulate.weight"
  std::vector<int64_t> shape;  // row-major
  Initial initial = Initial::kUniform;
  int64_t fan_in = 1;  // kUniform draws from +-1/sqrt(fan_in)

  int64_t elements() const;
};

// In forward order. `config` is valid.
std::vector<ParameterSpec> ListParameters(const ModelConfig& config);

int64_t CountParameters(const ModelConfig& config);

// Multiply-accumulates for one picture of height x width px (multiples of the patch), as the paper's
// tables count them: convolutions and linear layers; of the experts only the kept ones, of the tasks'
// gates one.
struct Macs {
  int64_t layers = 0;     // convolutions and linear layers
  int64_t attention = 0;  // the products q k^T and (softmax) v, which the paper leaves out
};
Macs CountMacs(const ModelConfig& config, int64_t height, int64_t width);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_PARAMETERS_H_
