#include "server/http/http_message.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr size_t kMaxShownBytes = 80;

std::string Shown(absl::string_view text) {
  return absl::CHexEscape(text.substr(0, kMaxShownBytes));
}

absl::Status BadOption(const std::string& why) {
  return WithReason(absl::InvalidArgumentError(why), "INVALID_OPTION");
}

int HexDigit(char c) {
  if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return -1;
  return absl::ascii_isdigit(static_cast<unsigned char>(c)) ? c - '0'
                                                            : absl::ascii_tolower(c) - 'a' + 10;
}

// '+' is a space there.
absl::StatusOr<std::string> Unescaped(absl::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return BadOption(
          absl::StrFormat("%s has a %% without two hexadecimal digits behind it", Shown(text)));
    }
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

}  // namespace

std::vector<std::string_view> HttpRequest::All(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const HttpHeader& header : headers) {
    if (header.name == name) values.emplace_back(header.value);
  }
  return values;
}

std::optional<std::string_view> HttpRequest::One(std::string_view name) const {
  const std::vector<std::string_view> values = All(name);
  if (values.size() != 1) return std::nullopt;
  return values.front();
}

std::string HttpRequest::content_type() const {
  const std::string_view all = One("content-type").value_or("");
  const std::string_view type = all.substr(0, all.find(';'));
  return absl::AsciiStrToLower(
      absl::StripAsciiWhitespace(absl::string_view(type.data(), type.size())));
}

std::optional<HttpTarget> ParseTarget(std::string_view target) {
  if (!target.starts_with('/')) return std::nullopt;
  const size_t mark = target.find('?');
  if (mark == std::string_view::npos) return HttpTarget{std::string(target), ""};
  return HttpTarget{std::string(target.substr(0, mark)), std::string(target.substr(mark + 1))};
}

absl::StatusOr<std::vector<QueryOption>> ParseQuery(std::string_view query) {
  std::vector<QueryOption> options;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(query.data(), query.size()), '&', absl::SkipEmpty())) {
    const size_t equals = part.find('=');
    if (equals == absl::string_view::npos) {
      return BadOption(absl::StrFormat("%s has no value; an option is NAME=VALUE", Shown(part)));
    }
    QueryOption option;
    DW_ASSIGN_OR_RETURN(option.name, Unescaped(part.substr(0, equals)));
    DW_ASSIGN_OR_RETURN(option.value, Unescaped(part.substr(equals + 1)));
    const bool twice = std::any_of(options.begin(), options.end(), [&](const QueryOption& earlier) {
      return earlier.name == option.name;
    });
    if (twice) {
      return BadOption(
          absl::StrFormat("%s stands twice; it must be there once", Shown(option.name)));
    }
    options.push_back(std::move(option));
  }
  return options;
}

}  // namespace deweather
