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

// A checkpoint in memory, and where it came from.
struct CheckpointFile {
  std::string bytes;
  std::vector<std::string> unused;  // the authors' tensors that are not in it
};

// A file of ours or the authors' as a checkpoint of ours, under `name` if there is one. Bytes of ours stay
// as they are unless the name changes: they are what the version is made of. A checkpoint of ours is not
// checked.
absl::StatusOr<CheckpointFile> ToCheckpoint(std::string file, const std::string& name);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMPORT_H_
