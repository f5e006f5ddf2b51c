#include "model/base/server_options.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/device_name.h"
#include "model/base/name.h"
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

// Of a field where zero means that there is no limit.
absl::Status OrZero(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), ", or 0"));
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

absl::Status CheckConnections(const LimitOptions& limits) {
  DW_RETURN_IF_ERROR(CheckRange("limits.max_connections", limits.max_connections, 1, 1'000'000));
  DW_RETURN_IF_ERROR(CheckRange("limits.max_header_bytes", limits.max_header_bytes, 1024, 1 << 20));
  DW_RETURN_IF_ERROR(CheckDuration("limits.max_handshake", limits.max_handshake, absl::Seconds(120),
                                   absl::Seconds(1)));
  DW_RETURN_IF_ERROR(
      CheckDuration("limits.max_connection_age", limits.max_connection_age, absl::Hours(168)));
  DW_RETURN_IF_ERROR(
      CheckDuration("limits.max_connection_idle", limits.max_connection_idle, absl::Hours(168)));
  return CheckDuration("limits.max_connection_grace", limits.max_connection_grace, absl::Hours(24),
                       absl::Seconds(1));
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
  DW_RETURN_IF_ERROR(CheckDuration("limits.max_stream_idle", limits.max_stream_idle, absl::Hours(1),
                                   absl::Seconds(1)));
  return CheckConnections(limits);
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
  DW_RETURN_IF_ERROR(CheckRange("batching.window_tiles", batching.window_tiles, 1, 4096));
  if (batching.max_batch_time == absl::ZeroDuration()) return absl::OkStatus();
  return OrZero(CheckDuration("batching.max_batch_time", batching.max_batch_time, absl::Hours(24),
                              absl::Seconds(1)));
}

absl::Status Wrong(std::string_view field, std::string_view value, std::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is '%s'; it must be %s", field, value, wanted));
}

// What execve and CUDA_VISIBLE_DEVICES can carry.
absl::Status CheckProgram(const TrainingServiceOptions& training) {
  if (!training.launch.empty() && training.launch.front().empty()) {
    return Wrong("training.launch[0]", "", "a program");
  }
  const auto in_gpu = [](char c) {
    return absl::ascii_isalnum(c) || std::string_view(",-/_").find(c) != std::string_view::npos;
  };
  if (std::all_of(training.gpu.begin(), training.gpu.end(), in_gpu)) return absl::OkStatus();
  return Wrong("training.gpu", training.gpu, "made of letters, digits, ',', '-', '/' and '_'");
}

absl::Status CheckTraining(const TrainingServiceOptions& training) {
  DW_RETURN_IF_ERROR(CheckRange("training.max_running", training.max_running, 0, 64));
  DW_RETURN_IF_ERROR(CheckRange("training.max_queued", training.max_queued, 1, 1'000'000));
  DW_RETURN_IF_ERROR(CheckRange("training.max_failures", training.max_failures, 1, 1000));
  DW_RETURN_IF_ERROR(
      CheckDuration("training.first_retry", training.first_retry, absl::Seconds(600)));
  DW_RETURN_IF_ERROR(CheckDuration("training.stop_grace", training.stop_grace, absl::Hours(1)));
  DW_RETURN_IF_ERROR(CheckProgram(training));
  DW_RETURN_IF_ERROR(CheckRange("training.niceness", training.niceness, 0, 19));
  DW_RETURN_IF_ERROR(CheckRange("training.threads", training.threads, 0, 1024));
  if (training.max_memory_bytes != 0) {
    DW_RETURN_IF_ERROR(OrZero(CheckRange("training.max_memory_bytes", training.max_memory_bytes,
                                         int64_t{64} << 20, int64_t{1} << 40)));
  }
  if (training.max_time <= absl::ZeroDuration()) {
    return Wrong("training.max_time", absl::FormatDuration(training.max_time), "longer than 0s");
  }
  DW_RETURN_IF_ERROR(
      CheckRange("training.max_log_bytes", training.max_log_bytes, 4096, int64_t{1} << 30));
  DW_RETURN_IF_ERROR(CheckRange("training.max_disk_bytes", training.max_disk_bytes,
                                int64_t{1} << 20, int64_t{1000} << 40));
  DW_RETURN_IF_ERROR(
      CheckRange("training.min_free_bytes", training.min_free_bytes, 0, int64_t{1} << 40));
  return CheckRange("training.keep_versions", training.keep_versions, 0, 1'000'000);
}

absl::Status CheckRegistered(const std::vector<RegisteredDataset>& registered) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < registered.size(); ++i) {
    const std::string field = absl::StrFormat("datasets.registered[%d]", i);
    DW_RETURN_IF_ERROR(ValidateName(field + ".name", registered[i].name));
    if (!names.insert(registered[i].name).second) {
      return Wrong(field + ".name", registered[i].name, "another: an earlier one has it");
    }
    if (registered[i].dir.empty()) return Wrong(field + ".dir", "", "a folder");
  }
  return absl::OkStatus();
}

absl::Status CheckDatasets(const DatasetOptions& datasets) {
  DW_RETURN_IF_ERROR(CheckRegistered(datasets.registered));
  DW_RETURN_IF_ERROR(CheckRange("datasets.max_bytes", datasets.max_bytes, 0, int64_t{1000} << 40));
  DW_RETURN_IF_ERROR(CheckRange("datasets.max_files", datasets.max_files, 1, 10'000'000));
  DW_RETURN_IF_ERROR(
      CheckRange("datasets.max_file_bytes", datasets.max_file_bytes, 1024, 2147483647));
  return CheckRange("datasets.min_free_bytes", datasets.min_free_bytes, 0, int64_t{1} << 40);
}

absl::Status CheckPromotion(const PromotionOptions& promotion) {
  if (!promotion.dataset.empty()) {
    DW_RETURN_IF_ERROR(ValidateName("promotion.dataset", promotion.dataset));
  }
  const double bound = promotion.max_regression_db;
  if (!(bound >= 0 && bound <= 100)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("promotion.max_regression_db is %g; it must be in [0, 100]", bound));
  }
  return CheckDuration("promotion.timeout", promotion.timeout, absl::Hours(24), absl::Seconds(1));
}

absl::Status CheckTls(const TlsOptions& tls) {
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    const bool key = tls.certificate_file.empty();
    return Wrong(key ? "tls.key_file" : "tls.certificate_file",
                 key ? tls.key_file : tls.certificate_file,
                 absl::StrFormat("beside a %s", key ? "tls.certificate_file" : "tls.key_file"));
  }
  if (!tls.client_ca_file.empty() && tls.certificate_file.empty()) {
    return Wrong("tls.client_ca_file", tls.client_ca_file, "beside a tls.certificate_file");
  }
  return absl::OkStatus();
}

absl::Status CheckPlaintext(const ServerOptions& options) {
  if (options.allow_plaintext_beyond_loopback) return absl::OkStatus();
  const std::pair<const char*, const std::string&> with_tls[] = {
      {"listen", options.listen}, {"http_listen", options.http_listen}};
  for (const auto& [field, address] : with_tls) {
    if (!options.tls.certificate_file.empty() || address.empty() || IsLoopback(address)) continue;
    return Wrong(field, address,
                 "an address of this machine alone (127.0.0.1, [::1], localhost), or there must be "
                 "tls.certificate_file, unless allow_plaintext_beyond_loopback is true");
  }
  if (options.metrics_listen.empty() || IsLoopback(options.metrics_listen)) return absl::OkStatus();
  return Wrong("metrics_listen", options.metrics_listen,
               "an address of this machine alone (127.0.0.1, [::1], localhost), unless "
               "allow_plaintext_beyond_loopback is true");
}

}  // namespace

bool IsLoopback(std::string_view address) {
  const std::string host(address.substr(0, address.rfind(':')));
  in_addr parsed = {};
  const bool is_loopback_block = inet_pton(AF_INET, host.c_str(), &parsed) == 1 &&
                                 ntohl(parsed.s_addr) >> 24 == IN_LOOPBACKNET;
  return host == "localhost" || host == "[::1]" || is_loopback_block;
}

absl::Status Validate(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckAddress("listen", options.listen));
  if (!options.metrics_listen.empty()) {
    DW_RETURN_IF_ERROR(CheckAddress("metrics_listen", options.metrics_listen));
  }
  if (!options.http_listen.empty()) {
    DW_RETURN_IF_ERROR(CheckAddress("http_listen", options.http_listen));
  }
  DW_RETURN_IF_ERROR(ValidateDeviceName(options.device));
  DW_RETURN_IF_ERROR(CheckRange("threads.model", options.threads.model, 0, 1024));
  DW_RETURN_IF_ERROR(CheckRange("threads.workers", options.threads.workers, 0, 1024));
  DW_RETURN_IF_ERROR(CheckLimits(options.limits));
  DW_RETURN_IF_ERROR(CheckAdmission(options.admission));
  DW_RETURN_IF_ERROR(CheckBatching(options.batching));
  DW_RETURN_IF_ERROR(CheckDuration("drain.delay", options.drain.delay, absl::Hours(1)));
  DW_RETURN_IF_ERROR(CheckDuration("drain.timeout", options.drain.timeout, absl::Hours(1)));
  DW_RETURN_IF_ERROR(CheckTraining(options.training));
  DW_RETURN_IF_ERROR(CheckDatasets(options.datasets));
  DW_RETURN_IF_ERROR(CheckPromotion(options.promotion));
  DW_RETURN_IF_ERROR(CheckTls(options.tls));
  DW_RETURN_IF_ERROR(CheckPlaintext(options));
  return CheckRange("log.max_requests_per_second", options.log.max_requests_per_second, 0,
                    1'000'000);
}

}  // namespace deweather
