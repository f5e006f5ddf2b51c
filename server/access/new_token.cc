#include "server/access/new_token.h"

#include <openssl/rand.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "model/base/sha256.h"

namespace deweather {

absl::StatusOr<std::string> NewToken() {
  std::array<unsigned char, 32> bytes = {};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    return absl::UnavailableError("the system has no random bytes");
  }
  return absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::string TokenEntry(std::string_view name, std::string_view token) {
  return absl::StrFormat("token { name: \"%s\" sha256: \"%s\" group: GROUP_INFER }\n", name,
                         Sha256Hex(token));
}

}  // namespace deweather
