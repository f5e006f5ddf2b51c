// What deweather-train does beside training: files in, files out, no Torch in sight.
// Every output is written atomically; on an error none is left.

#ifndef DEWEATHER_TRAINING_TOOLS_H_
#define DEWEATHER_TRAINING_TOOLS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/model_config.h"
#include "model/image/image.h"
#include "training/weather/weather.h"

namespace deweather {

struct ImportedModel {
  std::string path;                 // of the checkpoint
  std::string name;                 // of the model
  std::string version;              // of the checkpoint
  bool added = true;                // false: the data folder holds this very version already
  std::vector<std::string> unused;  // tensors of the authors' that nothing uses
};

// Turns a safetensors file under the authors' names into a checkpoint of ours; one of ours is
// checked and copied. `destination` is a data folder that exists, where the checkpoint becomes a
// version of its model (model/version_store.h), or the path of a file. `name` overrides the model's.
absl::StatusOr<ImportedModel> ImportFile(const std::string& source, const std::string& destination,
                                         const std::string& name = "");

struct Inspection {
  ModelConfig config;
  std::string version;                          // of the checkpoint
  std::map<std::string, std::string> metadata;  // all of it
};

// Reads and checks a whole checkpoint.
absl::StatusOr<Inspection> InspectFile(const std::string& path);

// What a network costs on one tile of size_px x size_px, a multiple of the patch.
struct NetworkCost {
  int64_t parameters = 0;
  int64_t macs = 0;            // of convolutions and linear layers, as the paper counts
  int64_t attention_macs = 0;  // which the paper leaves out
};
absl::StatusOr<NetworkCost> CostOf(const ModelConfig& config, int size_px);

// Reads a picture file; an error names it.
absl::StatusOr<Image> DecodeFile(const std::string& path);

// Alpha and profiles are dropped; grey is R = G = B.
RgbImage ToRgb(const Image& image);

// What a rectangle within the picture shows; its upper left corner is at (x, y).
RgbImage Cut(const RgbImage& image, int x, int y, int width, int height);

// Puts weather on a picture file; the format follows the destination's extension.
absl::Status SynthesizeFile(const std::string& source, const std::string& destination,
                            Weather weather, uint64_t seed);

struct ContactSheetOptions {
  std::optional<Weather> weather = std::nullopt;  // none: each in turn
  uint64_t seed = 0;                              // of the first picture; the next ones count on
  int count = 3;                                  // pictures of each weather, 1 to 48
};

// Draws the middle of a picture file, at most 640 px a side, as it is and with weather.
absl::Status SynthesizeSheet(const std::string& source, const std::string& destination,
                             const ContactSheetOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TOOLS_H_
