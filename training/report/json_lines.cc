#include "training/report/json_lines.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "training/report/json_text.h"

namespace deweather {
namespace {

using json = nlohmann::ordered_json;

json Begin(int64_t step, absl::Time time) {
  return {{"step", step},
          {"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone())}};
}

json Finite(double value) { return std::isfinite(value) ? json(value) : json(); }

json Value(int64_t value) { return value; }
json Value(double value) { return Finite(value); }
json Value(const std::string& value) { return value; }

// An object with a step; nothing for any other line.
std::optional<json> ParseLine(std::string_view line) {
  json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  const auto step = object.find("step");
  if (step == object.end() || !step->is_number_integer()) return std::nullopt;
  return object;
}

// The next line with its end, cut off `text`; nothing at the end and for a line that has none.
std::optional<std::string_view> TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text.substr(0, end + 1);
  text.remove_prefix(end + 1);
  return line;
}

ScalarRecord ToRecord(const json& object) {
  ScalarRecord record;
  for (const auto& [name, value] : object.items()) {
    if (name == "step") {
      record.step = value.get<int64_t>();
    } else if (name == "time" && value.is_string()) {
      absl::ParseTime(absl::RFC3339_full, value.get<std::string>(), &record.time, nullptr);
    } else if (value.is_number()) {
      record.values.emplace_back(name, value.get<double>());
    } else if (value.is_null()) {
      record.values.emplace_back(name, std::numeric_limits<double>::quiet_NaN());
    }
  }
  return record;
}

}  // namespace

std::string JsonLine(const ScalarRecord& record) {
  json object = Begin(record.step, record.time);
  for (const auto& [name, value] : record.values) object[name] = Finite(value);
  return JsonText(object) + "\n";
}

std::string JsonLine(const EventRecord& record) {
  json object = Begin(record.step, record.time);
  object["event"] = record.event;
  for (const auto& [name, detail] : record.details) {
    object[name] = std::visit([](const auto& value) { return Value(value); }, detail);
  }
  return JsonText(object) + "\n";
}

absl::StatusOr<std::vector<ScalarRecord>> ReadJsonLines(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<ScalarRecord> records;
  std::string_view rest = text;
  while (const std::optional<std::string_view> line = TakeLine(rest)) {
    const std::optional<json> object = ParseLine(*line);
    if (object && !object->contains("event")) records.push_back(ToRecord(*object));
  }
  return records;
}

absl::Status ForgetAfter(int64_t step, const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  DW_RETURN_IF_ERROR(text.status());
  std::string kept;
  std::string_view rest = *text;
  while (const std::optional<std::string_view> line = TakeLine(rest)) {
    const std::optional<json> object = ParseLine(*line);
    if (object && (*object)["step"].get<int64_t>() <= step) kept.append(*line);
  }
  return kept == *text ? absl::OkStatus() : WriteFileAtomically(path, kept);
}

}  // namespace deweather
