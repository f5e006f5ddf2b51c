// What a model computes in when it restores.

#ifndef DEWEATHER_MODEL_BASE_PRECISION_H_
#define DEWEATHER_MODEL_BASE_PRECISION_H_

#include <string_view>

#include "absl/status/statusor.h"

namespace deweather {

enum class Precision { kAuto, kF32, kBf16 };  // kAuto: bf16 where the device computes in it

// "auto", "f32", "bf16".
std::string_view Name(Precision precision);

// INVALID_ARGUMENT, listing the known names.
absl::StatusOr<Precision> ParsePrecision(std::string_view name);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_PRECISION_H_
