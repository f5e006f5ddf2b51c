#include "server/http/origin.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

constexpr size_t kMaxShownBytes = 80;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string Shown(std::string_view text) {
  return absl::CHexEscape(View(text.substr(0, kMaxShownBytes)));
}

// HOST without its port; an address of IPv6 with its brackets.
absl::string_view HostOf(absl::string_view authority) {
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  if (colon == absl::string_view::npos) return authority;
  if (bracket != absl::string_view::npos && colon < bracket) return authority;
  return authority.substr(0, colon);
}

// HOST:PORT, in lower case; the port is the scheme's where none is named.
std::string Complete(absl::string_view authority, absl::string_view port) {
  const std::string lower = absl::AsciiStrToLower(authority);
  return HostOf(lower).size() == lower.size() ? absl::StrCat(lower, ":", port) : lower;
}

bool IsAddress(absl::string_view host) {
  if (absl::StartsWith(host, "[")) return true;
  return !host.empty() && std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return absl::ascii_isdigit(c) || c == '.';
  });
}

}  // namespace

absl::Status CheckOrigin(std::string_view origin, std::string_view host) {
  absl::string_view rest = View(origin);
  const bool https = absl::ConsumePrefix(&rest, "https://");
  const char* const port = https ? "443" : "80";
  if ((https || absl::ConsumePrefix(&rest, "http://")) &&
      Complete(rest, port) == Complete(View(host), port)) {
    return absl::OkStatus();
  }
  return WithReason(absl::PermissionDeniedError(absl::StrFormat(
                        "the request comes from a page of '%s'; this server is '%s', and takes "
                        "requests from its own page alone",
                        Shown(origin), Shown(host))),
                    "FOREIGN_ORIGIN");
}

absl::Status CheckHostIsLocal(std::string_view host) {
  const std::string name(HostOf(View(host)));
  if (IsAddress(name) || (!name.empty() && !absl::StrContains(name, "."))) {
    return absl::OkStatus();
  }
  return WithReason(
      absl::PermissionDeniedError(absl::StrFormat(
          "the request is for '%s'; without tokens and TLS this server must be called "
          "by an address, as localhost or by a name without a dot",
          Shown(host))),
      "FOREIGN_HOST");
}

}  // namespace deweather
