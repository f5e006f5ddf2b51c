#include "model/base/name.h"

#include <algorithm>
#include <array>
#include <charconv>
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

template <typename Float>
std::string Shortest(Float value) {
  std::array<char, 32> text = {};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end};
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

std::string ShownNumber(double value) { return Shortest(value); }
std::string ShownNumber(float value) { return Shortest(value); }

std::string ShownNames(const std::vector<std::string>& names) {
  constexpr std::ptrdiff_t kShown = 20;
  if (names.empty()) return "none";
  const std::ptrdiff_t more = std::max<std::ptrdiff_t>(std::ssize(names) - kShown, 0);
  const std::string shown = absl::StrJoin(names.begin(), names.end() - more, ", ");
  return more == 0 ? shown : absl::StrCat(shown, " and ", more, " more");
}

}  // namespace deweather
