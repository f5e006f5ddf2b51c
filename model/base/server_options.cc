#include "model/base/server_options.h"

#include <charconv>
#include <string_view>
#include <system_error>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

absl::Status CheckRange(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %d; it must be in [%d, %d]", field, value, low, high));
}

absl::Status CheckDuration(std::string_view field, absl::Duration value, absl::Duration high,
                           absl::Duration low = absl::ZeroDuration()) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is %s; it must be in [%s, %s]", field, absl::FormatDuration(value),
      low == absl::ZeroDuration() ? "0s" : absl::FormatDuration(low), absl::FormatDuration(high)));
}

bool IsNumber(std::string_view text, int high) {
  int value = -1;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value >= 0 && value <= high;
}

absl::Status CheckAddress(std::string_view field, std::string_view address) {
  const size_t colon = address.rfind(':');
  const std::string_view host = address.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (colon != std::string_view::npos && !host.empty() &&
      (bracketed || host.find(':') == std::string_view::npos) &&
      IsNumber(address.substr(colon + 1), 65535)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is '%s'; it must be HOST:PORT with a port in [0, 65535]", field, address));
}

absl::Status CheckDevice(std::string_view device) {
  constexpr std::string_view kPrefix = "cuda:";
  if (device == "auto" || device == "cpu" || device == "cuda") return absl::OkStatus();
  if (device.starts_with(kPrefix) && IsNumber(device.substr(kPrefix.size()), 127)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("device is '%s'; it must be auto, cpu, cuda or cuda:0 to cuda:127", device));
}

absl::Status CheckLimits(const LimitOptions& limits) {
  constexpr int64_t kMessage = 2147483647;  // gRPC's own bound is an int
  DW_RETURN_IF_ERROR(
      CheckRange("limits.max_image_pixels", limits.max_image_pixels, 1, 2'000'000'000));
  DW_RETURN_IF_ERROR(
      CheckRange("limits.max_receive_bytes", limits.max_receive_bytes, 1024, kMessage));
  DW_RETURN_IF_ERROR(CheckRange("limits.max_send_bytes", limits.max_send_bytes, 1024, kMessage));
  DW_RETURN_IF_ERROR(
      CheckRange("limits.max_concurrent_streams", limits.max_concurrent_streams, 1, 65536));
  DW_RETURN_IF_ERROR(CheckRange("limits.max_transport_bytes", limits.max_transport_bytes,
                                int64_t{64} << 20, int64_t{1} << 40));
  DW_RETURN_IF_ERROR(
      CheckRange("limits.max_large_bytes", limits.max_large_bytes, 1024, int64_t{64} << 30));
  DW_RETURN_IF_ERROR(CheckRange("limits.max_model_bytes", limits.max_model_bytes, int64_t{1} << 20,
                                int64_t{1} << 40));
  return CheckDuration("limits.max_stream_idle", limits.max_stream_idle, absl::Hours(1),
                       absl::Seconds(1));
}

absl::Status CheckAdmission(const AdmissionOptions& admission) {
  DW_RETURN_IF_ERROR(
      CheckRange("admission.max_bytes", admission.max_bytes, int64_t{1} << 20, int64_t{1} << 40));
  DW_RETURN_IF_ERROR(CheckRange("admission.max_tiles", admission.max_tiles, 1, 1 << 20));
  return CheckRange("admission.max_caller_percent", admission.max_caller_percent, 1, 100);
}

absl::Status CheckBatching(const BatchingOptions& batching) {
  DW_RETURN_IF_ERROR(CheckRange("batching.max_tiles", batching.max_tiles, 1, 256));
  DW_RETURN_IF_ERROR(CheckDuration("batching.max_delay", batching.max_delay, absl::Seconds(1)));
  return CheckRange("batching.window_tiles", batching.window_tiles, 1, 4096);
}

}  // namespace

absl::Status Validate(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckAddress("listen", options.listen));
  if (!options.metrics_listen.empty()) {
    DW_RETURN_IF_ERROR(CheckAddress("metrics_listen", options.metrics_listen));
  }
  DW_RETURN_IF_ERROR(CheckDevice(options.device));
  DW_RETURN_IF_ERROR(CheckRange("threads.model", options.threads.model, 0, 1024));
  DW_RETURN_IF_ERROR(CheckRange("threads.workers", options.threads.workers, 0, 1024));
  DW_RETURN_IF_ERROR(CheckLimits(options.limits));
  DW_RETURN_IF_ERROR(CheckAdmission(options.admission));
  DW_RETURN_IF_ERROR(CheckBatching(options.batching));
  DW_RETURN_IF_ERROR(CheckDuration("drain.delay", options.drain.delay, absl::Hours(1)));
  return CheckDuration("drain.timeout", options.drain.timeout, absl::Hours(1));
}

}  // namespace deweather
