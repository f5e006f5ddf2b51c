// Reads the weights that the paper's authors released, under their names, as one of our networks.

#ifndef DEWEATHER_MODEL_IMPORT_H_
#define DEWEATHER_MODEL_IMPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/model_config.h"
#include "model/network.h"
#include "model/safetensors.h"

namespace deweather {

struct Imported {
  ModelConfig config;
  Parameters parameters;            // f32
  std::vector<std::string> unused;  // tensors of theirs that no computation uses, sorted
};

// The metadata must hold family (dense, moe or fme), embed_dim, depth, n_heads, dim_head, patch, out_ch,
// out_ch_scale, mlp_ratio, experts, top_k, stem and first_expert; gate, residual, tile, overlap and
// name are optional. Tensors that are not weights (not under "model.") are passed over.
// Errors: INVALID_ARGUMENT a missing, unknown or misshapen weight, or another family.
absl::StatusOr<Imported> ImportAuthors(const Safetensors& source);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMPORT_H_
