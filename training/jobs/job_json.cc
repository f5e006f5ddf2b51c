#include "training/jobs/job_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using nlohmann::json;
using Figures = std::map<std::string, double>;
using Labels = std::map<std::string, std::string>;

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What `convert` makes of the value that is written in `text`.
template <typename Value, typename Convert>
absl::StatusOr<Value> Parse(const std::string& text, Convert convert) {
  try {
    return convert(json::parse(text));
  } catch (const json::exception& error) {
    return absl::DataLossError(absl::StrCat("a row that was never written: ", error.what()));
  }
}

double NumberOf(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

Figures FiguresOf(const json& value) {
  Figures figures;
  for (const auto& [name, figure] : value.items()) figures[name] = NumberOf(figure);
  return figures;
}

json ValueOf(const JobProgress& progress) {
  json value = {{"step", progress.step},
                {"steps", progress.steps},
                {"loss", progress.loss},
                {"terms", progress.terms},
                {"images_per_second", progress.images_per_second},
                {"learning_rate", progress.learning_rate},
                {"bad_steps", progress.bad_steps}};
  if (progress.remaining.has_value()) {
    value["remaining_us"] = absl::ToInt64Microseconds(*progress.remaining);
  }
  return value;
}

JobProgress ProgressOf(const json& value) {
  JobProgress progress = {.step = value.at("step").get<int64_t>(),
                          .steps = value.at("steps").get<int64_t>(),
                          .loss = NumberOf(value.at("loss")),
                          .terms = FiguresOf(value.at("terms")),
                          .images_per_second = NumberOf(value.at("images_per_second")),
                          .learning_rate = NumberOf(value.at("learning_rate")),
                          .bad_steps = value.at("bad_steps").get<int64_t>()};
  const auto remaining = value.find("remaining_us");
  if (remaining != value.end()) progress.remaining = absl::Microseconds(remaining->get<int64_t>());
  return progress;
}

json ValueOf(const JobEvaluation& evaluation) {
  return {{"step", evaluation.step}, {"figures", evaluation.figures}};
}

JobEvaluation EvaluationOf(const json& value) {
  return {.step = value.at("step").get<int64_t>(), .figures = FiguresOf(value.at("figures"))};
}

json ValueOf(const JobEvent& event) {
  switch (event.kind) {
    case JobEventKind::kState:
      return {{"state", Name(event.state)}, {"reason", event.text}, {"attempt", event.attempt}};
    case JobEventKind::kProgress:
      return {{"progress", ValueOf(event.progress)}};
    case JobEventKind::kEvaluation:
      return {{"evaluation", ValueOf(event.evaluation)}};
    case JobEventKind::kCheckpoint:
      return {{"checkpoint", event.step}};
    case JobEventKind::kWarning:
      return {{"warning", event.text}};
  }
  return nullptr;
}

absl::Status ReadState(const json& value, JobEvent* event) {
  const auto state = ParseJobState(value.at("state").get<std::string>());
  if (!state.ok()) return absl::DataLossError(state.status().message());
  event->state = *state;
  event->text = value.at("reason").get<std::string>();
  event->attempt = value.at("attempt").get<int>();
  return absl::OkStatus();
}

absl::StatusOr<JobEvent> EventOf(const json& value) {
  JobEvent event;
  if (value.contains("progress")) {
    event.kind = JobEventKind::kProgress;
    event.progress = ProgressOf(value["progress"]);
  } else if (value.contains("evaluation")) {
    event.kind = JobEventKind::kEvaluation;
    event.evaluation = EvaluationOf(value["evaluation"]);
  } else if (value.contains("checkpoint")) {
    event.kind = JobEventKind::kCheckpoint;
    event.step = value["checkpoint"].get<int64_t>();
  } else if (value.contains("warning")) {
    event.kind = JobEventKind::kWarning;
    event.text = value["warning"].get<std::string>();
  } else {
    DW_RETURN_IF_ERROR(ReadState(value, &event));
  }
  return event;
}

Labels LabelsOf(const json& value) { return value.get<Labels>(); }

std::string TextOf(const json& value) { return value.get<std::string>(); }

}  // namespace

std::string ToJson(const JobProgress& progress) { return Dump(ValueOf(progress)); }
std::string ToJson(const JobEvaluation& evaluation) { return Dump(ValueOf(evaluation)); }
std::string ToJson(const JobEvent& event) { return Dump(ValueOf(event)); }

absl::StatusOr<JobProgress> ParseProgress(const std::string& text) {
  return Parse<JobProgress>(text, ProgressOf);
}

absl::StatusOr<JobEvaluation> ParseEvaluation(const std::string& text) {
  return Parse<JobEvaluation>(text, EvaluationOf);
}

absl::StatusOr<JobEvent> ParseEvent(const std::string& text) {
  return Parse<JobEvent>(text, EventOf);
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::string& text) {
  return Parse<Labels>(text, LabelsOf);
}

std::string ToUtf8(const std::string& text) {
  return Parse<std::string>(Dump(text), TextOf).value_or("");
}

}  // namespace deweather
