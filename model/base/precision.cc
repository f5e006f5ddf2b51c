#include "model/base/precision.h"

#include "absl/strings/str_format.h"

namespace deweather {

std::string_view Name(Precision precision) {
  switch (precision) {
    case Precision::kAuto:
      return "auto";
    case Precision::kF32:
      return "f32";
    case Precision::kBf16:
      return "bf16";
  }
  return "?";
}

absl::StatusOr<Precision> ParsePrecision(std::string_view name) {
  for (const Precision precision : {Precision::kAuto, Precision::kF32, Precision::kBf16}) {
    if (name == Name(precision)) return precision;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown precision '%s'; known: auto, f32, bf16", name));
}

}  // namespace deweather
