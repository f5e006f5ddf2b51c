#include "proto/config/text_format.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::Reflection;
using ::google::protobuf::TextFormat;
using Tree = TextFormat::ParseInfoTree;

bool IsNameChar(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// Keeps the first error; the parser may report what follows from it.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (!message_.empty()) return;
    line_ = line;
    column_ = column;
    message_ = message;
  }
  int line() const { return line_; }      // from 0
  int column() const { return column_; }  // from 0
  const std::string& message() const { return message_; }

 private:
  int line_ = 0;
  int column_ = 0;
  std::string message_;
};

// The values that a file may name: the unspecified one stands for leaving the field out.
std::string NamesOf(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  return absl::StrJoin(names, ", ");
}

std::string FieldsOf(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return absl::StrJoin(names, ", ");
}

std::string WhatItTakes(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return "an integer in [-2147483648, 2147483647]";
    case FieldDescriptor::CPPTYPE_INT64:
      return "an integer in [-2^63, 2^63 - 1]";
    case FieldDescriptor::CPPTYPE_UINT32:
      return "an integer in [0, 4294967295]";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "an integer in [0, 2^64 - 1]";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("one of ", NamesOf(*field.enum_type()));
    case FieldDescriptor::CPPTYPE_STRING:
      return "a quoted string";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return absl::StrCat("{ ... } with ", FieldsOf(*field.message_type()));
  }
  return "something else";
}

// The quoted word that an error of the parser begins with its subject in, as in: ... field "loss".
std::string QuotedAfter(const std::string& message, std::string_view before) {
  const size_t start = message.find(std::string(before) + "\"");
  if (start == std::string::npos) return "";
  const size_t word = start + before.size() + 1;
  return message.substr(word, message.find('"', word) - word);
}

// Just behind the literal that begins with the quote at `start`.
size_t EndOfQuoted(std::string_view text, size_t start) {
  size_t i = start + 1;
  while (i < text.size() && text[i] != text[start] && text[i] != '\n') {
    i += text[i] == '\\' ? 2 : 1;
  }
  return std::min(i + 1, text.size());
}

// A field, by its path from the root.
struct Named {
  std::string path;
  const FieldDescriptor* field = nullptr;  // null: none

  const Descriptor* type() const { return field == nullptr ? nullptr : field->message_type(); }
};

// The field that `text` ends in the middle of: the last that it names, or the message that it leaves open. With
// `name`, the last one that is called so.
Named FieldAtEnd(const Descriptor& root, std::string_view text, std::string_view name) {
  Named last, wanted;
  std::vector<Named> open;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else if (c == '"' || c == '\'') {
      i = EndOfQuoted(text, i);
    } else if (IsNameChar(c)) {
      const size_t start = i;
      while (i < text.size() && IsNameChar(text[i])) ++i;
      const std::string word(text.substr(start, i - start));
      const Descriptor* const type = open.empty() ? &root : open.back().type();
      const FieldDescriptor* const field = type == nullptr ? nullptr : type->FindFieldByName(word);
      if (field == nullptr) continue;
      last = {open.empty() ? word : absl::StrCat(open.back().path, ".", word), field};
      if (word == name) wanted = last;
    } else {
      if (c == '{' || c == '<') open.push_back(std::exchange(last, {}));
      if ((c == '}' || c == '>') && !open.empty()) open.pop_back();
      if (c == '}' || c == '>') last = {};
      ++i;
    }
  }
  if (!name.empty()) return wanted;
  return last.field == nullptr && !open.empty() ? open.back() : last;
}

// Which fields there are, where one was not found; else empty.
std::string WhichFields(const Descriptor& root, const std::string& message) {
  if (QuotedAfter(message, "has no field named ").empty()) return "";
  const std::string type = QuotedAfter(message, "Message type ");
  const Descriptor* owner = root.file()->pool()->FindMessageTypeByName(type);
  return owner == nullptr ? "" : absl::StrCat("; it has ", FieldsOf(*owner));
}

// The byte of `line` at the parser's column, which counts a tab as up to eight.
size_t ByteAt(std::string_view line, int column) {
  int at = 0;
  size_t byte = 0;
  for (; byte < line.size() && at < column; ++byte) at += line[byte] == '\t' ? 8 - at % 8 : 1;
  return byte;
}

// The parser reports some errors at the token after the culprit, which may be lines further down.
size_t LineWith(const std::vector<std::string_view>& lines, size_t line, const std::string& word) {
  const size_t found = std::min(line, lines.size() - 1);
  if (word.empty()) return found;
  for (size_t i = found + 1; i-- > 0;) {
    if (lines[i].find(word) != std::string_view::npos) return i;
  }
  return found;
}

// Bytes of `text` up to the first that is no UTF-8.
size_t Utf8Prefix(std::string_view text) {
  const auto byte = [text](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t{0}; };
  size_t i = 0;
  while (i < text.size()) {
    const uint8_t lead = byte(i);
    const size_t more = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4) return i;
    for (size_t k = 1; k <= more; ++k) {
      // Not the longer ways to write a character, no surrogates, nothing beyond U+10FFFF.
      const uint8_t least = k > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
      const uint8_t most = k > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
      if (byte(i + k) < least || byte(i + k) > most) return i;
    }
    i += more + 1;
  }
  return i;
}

// The first 200 bytes of `text`, without what a terminal would not show as it stands.
std::string Shown(std::string_view text) {
  text = text.substr(0, 200);
  const bool is_utf8 = Utf8Prefix(text) == text.size();
  std::string shown;
  for (const char c : text) {
    if (absl::ascii_isprint(c) || (is_utf8 && uint8_t(c) >= 0x80)) {
      shown.push_back(c);
    } else {
      absl::StrAppendFormat(&shown, "\\x%02x", uint8_t(c));
    }
  }
  return shown;
}

// What the parser says, without the words of the file that it quotes.
std::string WithoutWords(const std::string& message) {
  if (message.starts_with("Expected ")) return message.substr(0, message.find(','));
  if (message.starts_with("Non-repeated field ")) return message;  // its name is one of ours
  if (message.find("has no field named ") != std::string::npos) return "there is no such field";
  if (message.starts_with("Unknown enumeration value ")) return "there is no such value";
  return "this is not protobuf's text format";
}

// "PATH is 'VALUE'; it must ...", without the value.
std::string WithoutValue(const std::string& message) {
  const size_t value = message.find(" is '");
  return value == std::string::npos ? message
                                    : absl::StrCat(message.substr(0, value), " cannot be taken",
                                                   message.substr(message.rfind("; ")));
}

// The line that a mistake is in, as a part of a phrase.
std::string Quoted(const char* before, absl::string_view line, const FieldPlaces& places) {
  if (places.secret) return "";
  return absl::StrFormat(" %s '%s'", before, Shown({line.data(), line.size()}));
}

absl::Status CheckUtf8(std::string_view text, const FieldPlaces& places) {
  const size_t bad = Utf8Prefix(text);
  if (bad == text.size()) return absl::OkStatus();
  const std::string_view before = text.substr(0, bad);
  const size_t start = before.rfind('\n') + 1;
  const std::string_view line = text.substr(start, text.find('\n', start) - start);
  return absl::InvalidArgumentError(
      absl::StrFormat("%s:%d: byte %d%s is 0x%02x; the file must be UTF-8", places.file,
                      1 + std::count(before.begin(), before.end(), '\n'), bad - start + 1,
                      Quoted("of", {line.data(), line.size()}, places), uint8_t(text[bad])));
}

absl::Status Explain(const FirstError& error, std::string_view text, const Descriptor& root,
                     const FieldPlaces& places) {
  std::vector<std::string_view> lines;
  for (size_t start = 0; start <= text.size(); start += lines.back().size() + 1) {
    lines.push_back(text.substr(start, std::min(text.find('\n', start), text.size()) - start));
  }
  const std::string named = QuotedAfter(error.message(), "field ");
  const auto told = static_cast<size_t>(std::max(error.line(), 0));
  const size_t at = LineWith(lines, told, named);
  const std::string_view line = lines[at];
  const std::string_view before =
      text.substr(0, static_cast<size_t>(line.data() - text.data()) +
                         (at == told ? ByteAt(line, error.column()) : line.size()));
  std::string taken = WhichFields(root, error.message());
  const Named field = FieldAtEnd(root, before, named);
  if (taken.empty() && field.field != nullptr) {
    taken = absl::StrCat("; ", field.path, " takes ", WhatItTakes(*field.field));
  }
  std::string message = places.secret ? WithoutWords(error.message()) : error.message();
  while (message.ends_with('.')) message.pop_back();
  const absl::string_view shown = absl::StripAsciiWhitespace({line.data(), line.size()});
  return absl::InvalidArgumentError(absl::StrFormat("%s:%d: %s%s%s", places.file, at + 1, message,
                                                    Quoted("in", shown, places), taken));
}

// Walks down from the root as long as words of `path` are names of fields.
int LineOf(std::string_view path, const Descriptor& root, const Tree& root_tree) {
  const Descriptor* type = &root;
  const Tree* tree = &root_tree;
  int line = -1;
  while (type != nullptr && tree != nullptr) {
    const size_t length =
        static_cast<size_t>(std::find_if_not(path.begin(), path.end(), IsNameChar) - path.begin());
    const FieldDescriptor* field = type->FindFieldByName(std::string(path.substr(0, length)));
    if (field == nullptr) break;
    path.remove_prefix(length);
    int index = field->is_repeated() ? 0 : -1;
    if (path.starts_with('[')) {
      std::from_chars(path.data() + 1, path.data() + path.size(), index);
      path.remove_prefix(std::min(path.size(), path.find(']') + 1));
    }
    const int here = tree->GetLocation(field, index).line;
    line = here >= 0 ? here : line;
    type = field->message_type();
    tree = type != nullptr ? tree->GetTreeForNested(field, index) : nullptr;
    path.remove_prefix(path.empty() ? 0 : 1);
  }
  return line;
}

absl::Status CheckDuration(const google::protobuf::Duration& duration, const std::string& path) {
  constexpr int64_t kTenThousandYears = 315'576'000'000;
  const int64_t seconds = duration.seconds();
  const int nanos = duration.nanos();
  const bool same_sign = (seconds >= 0 && nanos >= 0) || (seconds <= 0 && nanos <= 0);
  if (same_sign && seconds >= -kTenThousandYears && seconds <= kTenThousandYears &&
      nanos > -1'000'000'000 && nanos < 1'000'000'000) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is %d seconds and %d nanos; they must have one sign and be at most %d and 999999999",
      path, seconds, nanos, kTenThousandYears));
}

// Paths and names end up in calls that take a NUL for the end.
absl::Status CheckString(const Message& message, const FieldDescriptor* field, int index,
                         const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  const std::string value = index < 0 ? reflection.GetString(message, field)
                                      : reflection.GetRepeatedString(message, field, index);
  if (Utf8Prefix(value) == value.size() && value.find('\0') == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is '%s'; it must be UTF-8 without NUL", path, Shown(value)));
}

absl::Status CheckField(const Message& message, const FieldDescriptor* field, int index,
                        const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const Message& inner = index < 0 ? reflection.GetMessage(message, field)
                                     : reflection.GetRepeatedMessage(message, field, index);
    return CheckValues(inner, path);
  }
  if (field->type() == FieldDescriptor::TYPE_STRING) {
    return CheckString(message, field, index, path);
  }
  if (field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM || index >= 0) return absl::OkStatus();
  const int value = reflection.GetEnumValue(message, field);
  if (field->enum_type()->FindValueByNumber(value) != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %d; it takes one of %s", path, value, NamesOf(*field->enum_type())));
}

absl::Status CheckUnknown(const Message& message, const std::string& path) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s has a field of number %d; it has %s", path,
                                                    unknown.field(0).number(),
                                                    FieldsOf(*message.GetDescriptor())));
}

}  // namespace

// Proto3 lets a file say any number for an enum, and anything for the parts of a duration.
absl::Status CheckValues(const Message& message, const std::string& path) {
  DW_RETURN_IF_ERROR(CheckUnknown(message, path));
  if (const auto* duration = dynamic_cast<const google::protobuf::Duration*>(&message)) {
    return CheckDuration(*duration, path);
  }
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const FieldDescriptor* field : fields) {
    const std::string name = prefix + field->name();
    if (!field->is_repeated()) {
      DW_RETURN_IF_ERROR(CheckField(message, field, -1, name));
      continue;
    }
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      DW_RETURN_IF_ERROR(CheckField(message, field, i, absl::StrFormat("%s[%d]", name, i)));
    }
  }
  return absl::OkStatus();
}

absl::Status ParseText(const std::string& text, Message* message, FieldPlaces* places) {
  DW_RETURN_IF_ERROR(CheckUtf8(text, *places));
  const std::string bare(absl::StripPrefix(text, "\xEF\xBB\xBF"));  // some editors' mark of UTF-8
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&places->tree);
  if (!parser.ParseFromString(bare, message)) {
    return Explain(error, bare, *message->GetDescriptor(), *places);
  }
  const absl::Status values = CheckValues(*message, "");
  if (values.ok()) return values;
  const std::string why(values.message());
  return AtField(absl::InvalidArgumentError(places->secret ? WithoutValue(why) : why), *message,
                 *places);
}

absl::Status AtField(const absl::Status& error, const Message& message, const FieldPlaces& places) {
  const std::string text(error.message());
  const int line = LineOf(text, *message.GetDescriptor(), places.tree);
  const std::string where = line < 0 ? places.file : absl::StrCat(places.file, ":", line + 1);
  return absl::Status(error.code(), absl::StrCat(where, ": ", text));
}

}  // namespace deweather
