#include "model/base/device_name.h"

#include <charconv>
#include <system_error>

#include "absl/strings/str_format.h"

namespace deweather {
namespace {

bool IsIndex(std::string_view text) {
  int value = -1;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value >= 0 && value <= 127;
}

}  // namespace

absl::Status ValidateDeviceName(std::string_view device) {
  constexpr std::string_view kPrefix = "cuda:";
  if (device == "auto" || device == "cpu" || device == "cuda") return absl::OkStatus();
  if (device.starts_with(kPrefix) && IsIndex(device.substr(kPrefix.size()))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("device is '%s'; it must be auto, cpu, cuda or cuda:0 to cuda:127", device));
}

}  // namespace deweather
