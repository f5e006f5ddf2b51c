#include "server/log/log_line.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deweather {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNoColour[] = "\033[m";

const char* ColourOf(std::string_view level) {
  if (level == "info") return "\033[32m";
  if (level == "warning") return "\033[33m\033[1m";
  if (level == "error" || level == "critical") return "\033[31m\033[1m";
  return "";
}

// Bytes of the character that `text` begins with; 0: it is no UTF-8.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [text](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t{0}; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const size_t bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < bytes; ++i) {
    // Not the longer ways to write a character, no surrogates, nothing beyond U+10FFFF.
    const uint8_t least = i > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t most = i > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(i) < least || byte(i) > most) return 0;
  }
  return bytes;
}

// Characters that a terminal obeys: below U+0020, and U+007F to U+009F.
bool IsControl(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  return first == 0xC2 && static_cast<uint8_t>(character[1]) < 0xA0;
}

void AppendVisible(std::string_view character, std::string* visible) {
  if (character == "\n") {
    *visible += "\\n";
  } else if (character == "\\") {
    *visible += "\\\\";
  } else if (!IsControl(character)) {
    *visible += character;
  } else if (character.size() == 1) {
    absl::StrAppendFormat(visible, "\\x%02x", static_cast<uint8_t>(character[0]));
  } else {  // C2 and the character's own number
    absl::StrAppendFormat(visible, "\\u%04x", static_cast<uint8_t>(character[1]));
  }
}

std::string Visible(std::string_view text) {
  std::string visible;
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) {
      absl::StrAppendFormat(&visible, "\\x%02x", static_cast<uint8_t>(text[0]));
    } else {
      AppendVisible(text.substr(0, bytes), &visible);
    }
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return visible;
}

std::string Text(std::string_view value) {
  const bool plain = !value.empty() && std::ranges::none_of(value, [](char c) {
    return c == ' ' || c == '"' || c == '=';
  });
  if (plain) return Visible(value);
  std::string quoted = "\"";
  for (const char c : Visible(value)) {
    if (c == '"') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}
std::string Text(int64_t value) { return absl::StrCat(value); }
std::string Text(double value) { return absl::StrCat(value); }

}  // namespace

std::string JsonLine(const LogRecord& record) {
  Json line = {{"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", record.time, absl::UTCTimeZone())},
               {"level", record.level},
               {"message", record.message}};
  if (record.fields != nullptr) {
    for (const LogField& field : *record.fields) {
      std::visit([&](const auto& value) { line[std::string(field.name)] = value; }, field.value);
    }
  }
  return line.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
}

std::string TextLine(const LogRecord& record, bool colour) {
  std::string line =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3S%Ez ", record.time, absl::LocalTimeZone());
  const std::string level(record.level);
  absl::StrAppend(&line, colour ? ColourOf(level) : "", level, colour ? kNoColour : "", " ",
                  record.fields == nullptr ? Visible(record.message) : Text(record.message));
  if (record.fields != nullptr) {
    for (const LogField& field : *record.fields) {
      std::visit(
          [&](const auto& value) {
            absl::StrAppend(&line, " ", std::string(field.name), "=", Text(value));
          },
          field.value);
    }
  }
  return line + "\n";
}

}  // namespace deweather
