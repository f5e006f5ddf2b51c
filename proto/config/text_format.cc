#include "proto/config/text_format.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
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

// The field of that name in `type` or in a message below it.
const FieldDescriptor* FindField(const Descriptor& type, const std::string& name) {
  if (const FieldDescriptor* field = type.FindFieldByName(name)) return field;
  for (int i = 0; i < type.field_count(); ++i) {
    const Descriptor* inner = type.field(i)->message_type();
    if (inner == nullptr) continue;
    if (const FieldDescriptor* field = FindField(*inner, name)) return field;
  }
  return nullptr;
}

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

// The last name before `column`, which is where a value was expected.
std::string NameBefore(const std::string& line, int column) {
  size_t end = std::min(line.size(), static_cast<size_t>(std::max(column, 0)));
  while (end > 0 && !IsNameChar(line[end - 1])) --end;
  size_t start = end;
  while (start > 0 && IsNameChar(line[start - 1])) --start;
  return line.substr(start, end - start);
}

// What a field takes, or which fields there are, as the rest of a sentence.
std::string Advice(const Descriptor& root, const std::string& message, const std::string& line,
                   int column) {
  const std::string unknown = QuotedAfter(message, "has no field named ");
  if (!unknown.empty()) {
    const std::string type = QuotedAfter(message, "Message type ");
    const Descriptor* owner = root.file()->pool()->FindMessageTypeByName(type);
    return owner == nullptr ? "" : absl::StrCat("; it has ", FieldsOf(*owner));
  }
  std::string name = QuotedAfter(message, "field ");
  if (name.empty()) name = NameBefore(line, column);
  const FieldDescriptor* field = FindField(root, name);
  return field == nullptr ? "" : absl::StrCat("; ", name, " takes ", WhatItTakes(*field));
}

// The parser reports some errors at the token after the culprit, which may be lines further down.
int LineWith(const std::vector<std::string>& lines, int line, const std::string& word) {
  int found = std::min(line, static_cast<int>(lines.size()) - 1);
  if (word.empty()) return found;
  for (int i = found; i >= 0; --i) {
    if (lines[static_cast<size_t>(i)].find(word) != std::string::npos) return i;
  }
  return found;
}

absl::Status Explain(const FirstError& error, const std::string& text, const Descriptor& root,
                     const std::string& file) {
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  const int at = LineWith(lines, error.line(), QuotedAfter(error.message(), "field "));
  const std::string& line = lines[static_cast<size_t>(at)];
  std::string message = error.message();
  while (absl::EndsWith(message, ".")) message.pop_back();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s:%d: %s in '%s'%s", file, at + 1, message,
      std::string(absl::StripAsciiWhitespace(line)).substr(0, 200),
      Advice(root, error.message(), line, at == error.line() ? error.column() : 0)));
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

absl::Status CheckField(const Message& message, const FieldDescriptor* field, int index,
                        const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const Message& inner = index < 0 ? reflection.GetMessage(message, field)
                                     : reflection.GetRepeatedMessage(message, field, index);
    return CheckValues(inner, path);
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
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&places->tree);
  if (!parser.ParseFromString(text, message)) {
    return Explain(error, text, *message->GetDescriptor(), places->file);
  }
  const absl::Status values = CheckValues(*message, "");
  return values.ok() ? values : AtField(values, *message, *places);
}

absl::Status AtField(const absl::Status& error, const Message& message, const FieldPlaces& places) {
  const std::string text(error.message());
  const int line = LineOf(text, *message.GetDescriptor(), places.tree);
  const std::string where = line < 0 ? places.file : absl::StrCat(places.file, ":", line + 1);
  return absl::Status(error.code(), absl::StrCat(where, ": ", text));
}

}  // namespace deweather
