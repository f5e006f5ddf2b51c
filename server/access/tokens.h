// The tokens that a server takes: a file of AccessTokens, protobuf's text format.
// The file holds SHA-256 hashes. They need no salt: a token is 32 random bytes, which nobody finds by trying.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT anything wrong with the file: "FILE:LINE: " and then the field, its value and its
//          limit; no message shows what may be a token

#ifndef DEWEATHER_SERVER_ACCESS_TOKENS_H_
#define DEWEATHER_SERVER_ACCESS_TOKENS_H_

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

// Sets of groups are sums of these.
enum Group { kInfer = 1, kTrain = 2, kAdmin = 4 };
using Groups = int;
inline constexpr Groups kAnyGroup = kInfer | kTrain | kAdmin;

// As in "infer, train".
std::string NamesOf(Groups groups);

struct Token {
  std::string name;
  Groups groups = 0;
};

// By SHA-256, 64 hexadecimal digits in lower case.
using Tokens = std::unordered_map<std::string, Token>;

// `file` stands for the text in messages.
absl::StatusOr<Tokens> ParseTokens(const std::string& text, const std::string& file);

// Whether `text` holds what may be a token: 43 characters of base64 as URLs have it. It must not be shown.
bool LooksLikeToken(std::string_view text);

// Whether a token may be called that, which a token may not.
absl::Status CheckTokenName(std::string_view name);

// The groups of which a caller needs one; none: no such method is known, and nobody may call it.
std::optional<Groups> GroupsOf(std::string_view service, std::string_view method);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_ACCESS_TOKENS_H_
