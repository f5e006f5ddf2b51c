#include "client/output.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/diagnose.h"

namespace deweather {

using nlohmann::json;

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime(absl::RFC3339_sec, absl::FromUnixSeconds(time.seconds()),
                          absl::UTCTimeZone());
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

json OrNull(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

std::string EnumWord(std::string_view name, std::string_view prefix) {
  if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  return std::string(name);
}

absl::Status WriteStdout(std::string_view bytes) {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size() &&
                       std::fflush(stdout) == 0;
  return written ? absl::OkStatus() : absl::ErrnoToStatus(errno, "cannot write to stdout");
}

void PrintJson(const json& object) {
  absl::PrintF("%s\n", object.dump(2, ' ', false, json::error_handler_t::replace));
}

void PrintJsonLine(const json& object) {
  absl::PrintF("%s\n", object.dump(-1, ' ', false, json::error_handler_t::replace));
  std::fflush(stdout);
}

json ErrorJson(const absl::Status& status, const std::string& reason) {
  json error = {{"code", absl::StatusCodeToString(status.code())},
                {"message", std::string(status.message())}};
  if (!reason.empty()) error["reason"] = reason;
  return error;
}

int FailCall(const absl::Status& status, bool as_json, const std::string& reason,
             const std::string& about) {
  absl::FPrintF(stderr, "%s\n", ErrorLine(status, about));
  if (as_json) PrintJsonLine({{"error", ErrorJson(status, reason)}});
  return 1;
}

int FailCall(const ServerFlags& flags, const grpc::Status& status, bool as_json) {
  return FailCall(Explained(flags, status), as_json, ReasonOf(status));
}

int FailLocally(const absl::Status& status, bool as_json) {
  FailCall(status, as_json);
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace deweather
