// Makes tokens.

#ifndef DEWEATHER_SERVER_ACCESS_NEW_TOKEN_H_
#define DEWEATHER_SERVER_ACCESS_NEW_TOKEN_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deweather {

// 32 bytes that nobody can guess, in base64 as URLs have it. UNAVAILABLE if the system has no randomness.
absl::StatusOr<std::string> NewToken();

// The entry of a tokens file for `token`, in protobuf's text format, with the group infer.
std::string TokenEntry(std::string_view name, std::string_view token);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_ACCESS_NEW_TOKEN_H_
