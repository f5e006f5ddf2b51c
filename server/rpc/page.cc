#include "server/rpc/page.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/sha256.h"

namespace deweather {
namespace {

constexpr int kDefaultPageSize = 50;
constexpr int kMaxPageSize = 1000;
constexpr size_t kMarkBytes = 16;

// What a token of that list begins with.
std::string Mark(const std::string& list) { return Sha256Hex(list).substr(0, kMarkBytes); }

}  // namespace

absl::StatusOr<Page> ToPage(int page_size, const std::string& page_token, const std::string& list) {
  if (page_size < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("page_size is %d; it must be 0 or more", page_size));
  }
  Page page{page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize), ""};
  if (page_token.empty()) return page;
  std::string text;
  const bool ours = absl::WebSafeBase64Unescape(page_token, &text) && text.size() > kMarkBytes &&
                    text.starts_with(Mark(list));
  if (!ours) return UnknownPageToken();
  page.after = text.substr(kMarkBytes);
  return page;
}

std::string PageToken(const std::string& last, const std::string& list) {
  return absl::WebSafeBase64Escape(absl::StrCat(Mark(list), last));
}

absl::Status UnknownPageToken() {
  return absl::InvalidArgumentError("page_token is not one that this server sent for this list");
}

}  // namespace deweather
