// A network on disk: a safetensors file whose metadata is its configuration.
//
// Format   metadata `format` = "deweather-1", `name`, and the fields of ModelConfig by their names
//          (family for kind, img nowhere: the network takes any multiple of the patch); lists have commas
//          between; experts_by_block, residual_ffn, tasks, calibration, router_passes and router_dropout
//          only where they are not the default;
//          tensors are those of ListParameters(config), F32 as we write them; BF16, F16 and F64
//          are read too
// Errors   NOT_FOUND no such file · DATA_LOSS not a whole safetensors file (safetensors.h) ·
//          INVALID_ARGUMENT a missing, extra, misshapen or non-finite tensor, a bad configuration.
//          Never throws; every message names the file.

#ifndef DEWEATHER_MODEL_CHECKPOINT_H_
#define DEWEATHER_MODEL_CHECKPOINT_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/model_config.h"
#include "model/network.h"
#include "model/safetensors.h"

namespace deweather {

struct Checkpoint {
  ModelConfig config;
  Parameters parameters;  // f32, on the CPU
  std::map<std::string, std::string>
      metadata;         // all of it; what is not configuration is provenance
  std::string version;  // first 12 hex digits of the file's SHA-256
};

absl::StatusOr<Checkpoint> LoadCheckpoint(const std::string& path);

// The same of a file in memory; its messages cannot name it.
absl::StatusOr<Checkpoint> ParseCheckpoint(std::string_view file);

// The configuration alone, from the header; for tools that need no weights.
absl::StatusOr<ModelConfig> ConfigFromMetadata(const std::map<std::string, std::string>& metadata);

// The whole file; `provenance` joins the metadata: the command, figures, data.
absl::StatusOr<std::string> SerializeCheckpoint(
    const ModelConfig& config, const Parameters& parameters,
    const std::map<std::string, std::string>& provenance);

// Atomic: `path` is either the old file or the new one (WriteFileAtomically).
absl::Status SaveCheckpoint(const std::string& path, const ModelConfig& config,
                            const Parameters& parameters,
                            const std::map<std::string, std::string>& provenance);

// A tensor as a safetensors entry, and back. F32, BF16, F16 or F64 come out as f32 (copied);
// INVALID_ARGUMENT another dtype, or a value that is not finite.
// The entry's bytes are the tensor's own: it must be contiguous and stay alive.
absl::StatusOr<at::Tensor> ToTensor(std::string_view name, const SafetensorView& view);
SafetensorView ToView(const at::Tensor& tensor);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_CHECKPOINT_H_
