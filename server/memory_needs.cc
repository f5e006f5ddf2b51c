#include "server/memory_needs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deweather {
namespace {

// Measured in control groups: what the kernel kills a server below. The warm-up of deweather-small adds its
// largest batch; what more than so many tiles add is not needed at once.
constexpr int64_t kStartBytes = int64_t{96} << 20;
constexpr int64_t kTileBytes = int64_t{30} << 20;
constexpr int kMostTiles = 8;

// Beside the program and its libraries: stacks, heaps, a model and its largest batch.
constexpr int64_t kStartAddresses = int64_t{2} << 30;

std::string Size(int64_t bytes) {
  return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (int64_t{1} << 30));
}

}  // namespace

absl::Status CheckStartMemory(const ServerOptions& options, std::optional<int64_t> limit_bytes) {
  const int tiles =
      options.model == "identity" ? 0 : std::min(options.batching.max_tiles, kMostTiles);
  const int64_t need = kStartBytes + tiles * kTileBytes;
  if (!limit_bytes.has_value() || *limit_bytes >= need) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the control group allows %d MiB of memory; the server needs %d MiB to start",
                      *limit_bytes >> 20, need >> 20));
}

absl::Status CheckAddresses(int64_t mapped_bytes, std::optional<int64_t> limit_bytes) {
  if (!limit_bytes.has_value() || *limit_bytes - mapped_bytes >= kStartAddresses) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the process may map %d MiB of addresses (ulimit -v) and has mapped %d MiB; the server needs "
      "%d MiB more to start",
      *limit_bytes >> 20, mapped_bytes >> 20, kStartAddresses >> 20));
}

std::string MemoryWarning(const ServerOptions& options, int64_t resident_bytes,
                          std::optional<int64_t> limit_bytes) {
  if (!limit_bytes.has_value()) return "";
  const int64_t requests = options.admission.max_bytes;
  const int64_t transport = options.limits.max_transport_bytes;
  const bool runs_jobs = options.training.enabled && !options.data_dir.empty();
  const int64_t jobs =
      runs_jobs ? options.training.max_running * options.training.max_memory_bytes : 0;
  const int64_t sum = resident_bytes + requests + transport + jobs;
  if (sum <= *limit_bytes) return "";
  std::string text = absl::StrFormat(
      "%s of memory may be needed and the control group allows %s: %s now, admission.max_bytes %s, "
      "limits.max_transport_bytes %s",
      Size(sum), Size(*limit_bytes), Size(resident_bytes), Size(requests), Size(transport));
  if (jobs > 0) {
    absl::StrAppendFormat(&text, ", %d x training.max_memory_bytes %s",
                          options.training.max_running, Size(options.training.max_memory_bytes));
  }
  return text;
}

}  // namespace deweather
