// What every command prints with: JSON for programs, words of tables for people, one line an error.

#ifndef DEWEATHER_CLIENT_OUTPUT_H_
#define DEWEATHER_CLIENT_OUTPUT_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <grpcpp/support/status.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/channel.h"
#include "client/text.h"

namespace deweather {

// UTC, in whole seconds: "2023-11-14T22:13:20+00:00".
std::string TimeText(const google::protobuf::Timestamp& time);

absl::Duration ToDuration(const google::protobuf::Duration& duration);

std::string OrDash(const std::string& text);
nlohmann::json OrNull(const std::string& text);

// "STATE_RUNNING" without "STATE_".
std::string EnumWord(std::string_view name, std::string_view prefix);

// All of it, at once: a pipe's reader waits for it. What errno says of stdout.
absl::Status WriteStdout(std::string_view bytes);

// To stdout, over several lines or on one. What is not UTF-8, as names of files may be, is replaced.
void PrintJson(const nlohmann::json& object);
void PrintJsonLine(const nlohmann::json& object);

// {"code": ..., "message": ..., "reason": ...}, the last one unless it is empty.
nlohmann::json ErrorJson(const absl::Status& status, const std::string& reason = "");

// One line on stderr, and with `as_json` {"error": ErrorJson} on one of stdout. Exit status: 1; of what went
// wrong before anything was sent 2 if that is wrong usage, INVALID_ARGUMENT.
int FailCall(const absl::Status& status, bool as_json, const std::string& reason = "",
             const std::string& about = "");
// The same of a server's error: Explained.
int FailCall(const ServerFlags& flags, const grpc::Status& status, bool as_json);
int FailLocally(const absl::Status& status, bool as_json);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_OUTPUT_H_
