#include "server/rpc/call_parts.h"

#include <spdlog/spdlog.h>

#include <chrono>

#include "absl/time/clock.h"
#include "server/restore/error_reason.h"

namespace deweather {
namespace {

bool IsServersFault(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

}  // namespace

absl::StatusOr<UnreadReplies::Share> UnreadReplies::Take(const std::string& caller, int64_t bytes) {
  return room_.Admit({.caller = caller, .bytes = bytes}, absl::Now());
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

void LogError(const char* method, const std::string& caller, const absl::Status& error) {
  const auto level = IsServersFault(error.code()) ? spdlog::level::err : spdlog::level::debug;
  spdlog::log(level, "{} for {}: {}", method, caller, error.ToString());
}

absl::Status Draining() {
  return WithReason(absl::UnavailableError("the server is draining"), "DRAINING");
}

}  // namespace deweather
