#include "model/base/name.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace deweather {
namespace {

bool InName(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
}

}  // namespace

absl::Status ValidateName(std::string_view field, std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("%s is %d bytes long; it must be 1 to %d",
                                                      field, name.size(), kMaxNameBytes));
  }
  if (name.front() == '.' || !std::all_of(name.begin(), name.end(), InName)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is '%s'; it must be made of letters, digits, '.', '_' and '-' and not begin with '.'",
        field, ShownText(name)));
  }
  return absl::OkStatus();
}

std::string ShownText(std::string_view text) {
  return absl::CHexEscape(std::string(text.substr(0, kMaxNameBytes))).substr(0, kMaxNameBytes);
}

std::string ShownNames(const std::vector<std::string>& names) {
  constexpr std::ptrdiff_t kShown = 20;
  if (names.empty()) return "none";
  const std::ptrdiff_t more = std::max<std::ptrdiff_t>(std::ssize(names) - kShown, 0);
  const std::string shown = absl::StrJoin(names.begin(), names.end() - more, ", ");
  return more == 0 ? shown : absl::StrCat(shown, " and ", more, " more");
}

}  // namespace deweather
