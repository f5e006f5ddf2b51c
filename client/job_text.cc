#include "client/job_text.h"

#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/output.h"
#include "model/base/progress_bar.h"

namespace deweather {
namespace {

using google::protobuf::Timestamp;
using nlohmann::json;

constexpr size_t kReasonBytes = 48;  // in a table

json TimeOrNull(bool known, const Timestamp& time) {
  return known ? json(TimeText(time)) : json(nullptr);
}

// "250/1000"; "-" before the first step.
std::string StepsText(const v1::Job& job) {
  if (!job.has_progress()) return "-";
  return absl::StrCat(job.progress().step(), "/", job.progress().steps());
}

std::string LossText(const v1::Job& job) {
  return job.has_progress() ? absl::StrFormat("%.4g", job.progress().loss()) : "-";
}

std::string ProgressText(const v1::JobProgress& progress) {
  std::string text =
      absl::StrFormat("%d/%d  loss %.4g  %.1f images/s", progress.step(), progress.steps(),
                      progress.loss(), progress.images_per_second());
  if (progress.bad_steps() > 0) {
    absl::StrAppendFormat(&text, "  %d steps skipped", progress.bad_steps());
  }
  if (progress.has_remaining()) {
    absl::StrAppendFormat(&text, "  %s left", ShortDuration(ToDuration(progress.remaining())));
  }
  return text;
}

json ProgressJson(const v1::JobProgress& progress) {
  json object = {{"step", progress.step()},
                 {"steps", progress.steps()},
                 {"loss", progress.loss()},
                 {"terms", json::object()},
                 {"images_per_second", progress.images_per_second()},
                 {"learning_rate", progress.learning_rate()},
                 {"bad_steps", progress.bad_steps()},
                 {"remaining_s", nullptr}};
  for (const auto& [name, value] : progress.terms()) object["terms"][name] = value;
  if (progress.has_remaining()) {
    object["remaining_s"] = absl::ToDoubleSeconds(ToDuration(progress.remaining()));
  }
  return object;
}

json EvaluationJson(const v1::JobEvaluation& evaluation) {
  json figures = json::object();
  for (const auto& [name, value] : evaluation.figures()) figures[name] = value;
  return {{"step", evaluation.step()}, {"figures", figures}};
}

// By name; a message's maps have no order.
std::string EvaluationText(const v1::JobEvaluation& evaluation) {
  std::string text = absl::StrCat("step ", evaluation.step());
  const json figures = EvaluationJson(evaluation)["figures"];
  for (const auto& [name, value] : figures.items()) {
    absl::StrAppendFormat(&text, "  %s %.4f", OneLine(name), value.get<double>());
  }
  return text;
}

json LabelsJson(const v1::Job& job) {
  json labels = json::object();
  for (const auto& [key, value] : job.labels()) labels[key] = value;
  return labels;
}

std::string LabelsText(const v1::Job& job) {
  std::vector<std::string> labels;
  const json sorted = LabelsJson(job);
  for (const auto& [key, value] : sorted.items()) {
    labels.push_back(absl::StrCat(key, "=", OneLine(value.get<std::string>())));
  }
  return absl::StrJoin(labels, "  ");
}

// The fields by their names in the file that was submitted.
json ConfigJson(const v1::TrainConfig& config) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const bool good = google::protobuf::util::MessageToJsonString(config, &text, options).ok();
  return good ? json::parse(text, nullptr, false) : json(nullptr);
}

std::string StateChangeText(const v1::JobEvent::StateChange& change) {
  std::string text = StateText(change.state());
  if (change.attempt() > 0) absl::StrAppend(&text, ", attempt ", change.attempt());
  const bool said = change.reason() == absl::StrCat("attempt ", change.attempt());
  if (!change.reason().empty() && !said) absl::StrAppend(&text, ": ", OneLine(change.reason()));
  return text;
}

std::string WhatHappened(const v1::JobEvent& event) {
  switch (event.event_case()) {
    case v1::JobEvent::kStateChange:
      return StateChangeText(event.state_change());
    case v1::JobEvent::kProgress:
      return ProgressText(event.progress());
    case v1::JobEvent::kEvaluation:
      return "evaluation at " + EvaluationText(event.evaluation());
    case v1::JobEvent::kCheckpoint:
      return absl::StrCat("checkpoint at step ", event.checkpoint().step());
    case v1::JobEvent::kWarning:
      return "warning: " + OneLine(event.warning());
    case v1::JobEvent::EVENT_NOT_SET:
      break;
  }
  return "something that this client does not know";
}

// Of one that was only checked: the server has made no job, nor told more than what it is to be.
json CheckedJson(const v1::Job& job) {
  return {{"valid", true},
          {"model", job.model()},
          {"config", ConfigJson(job.config())},
          {"labels", LabelsJson(job)},
          {"priority", job.priority()}};
}

// A line "name      text", unless there is nothing to say.
void AppendField(const std::string& name, const std::string& text, std::string* lines) {
  if (!text.empty()) absl::StrAppendFormat(lines, "%-10s %s\n", name, text);
}

void AppendTimes(const v1::Job& job, std::string* text) {
  AppendField("created", TimeText(job.create_time()), text);
  if (job.has_start_time()) AppendField("started", TimeText(job.start_time()), text);
  if (job.has_end_time()) AppendField("ended", TimeText(job.end_time()), text);
  if (job.has_retry_time()) AppendField("retry", TimeText(job.retry_time()), text);
}

// How it stands.
void AppendStanding(const v1::Job& job, std::string* text) {
  const std::string reason = job.reason().empty() ? "" : ": " + OneLine(job.reason());
  AppendField("state", StateText(job.state()) + reason, text);
  if (job.has_progress()) AppendField("progress", ProgressText(job.progress()), text);
  if (job.has_evaluation()) AppendField("evaluation", EvaluationText(job.evaluation()), text);
  AppendField("version", job.model_version(), text);
  AppendTimes(job, text);
  AppendField("attempts", absl::StrFormat("%d, %d crashed", job.attempts(), job.failures()), text);
  AppendField("disk", absl::StrCat(job.disk_bytes(), " bytes"), text);
}

std::string KindText(v1::Artifact::Kind kind) {
  if (kind == v1::Artifact::KIND_UNSPECIFIED) return "FILE";
  return EnumWord(v1::Artifact::Kind_Name(kind), "KIND_");
}

}  // namespace

std::string StateText(v1::Job::State state) {
  return EnumWord(v1::Job::State_Name(state), "STATE_");
}

std::string JobsTable(const std::vector<v1::Job>& jobs) {
  constexpr char kLine[] = "%-12s  %-10s  %-20s  %15s  %9s  %-25s  %s\n";
  std::string table =
      absl::StrFormat(kLine, "ID", "STATE", "MODEL", "PROGRESS", "LOSS", "CREATED", "REASON");
  for (const v1::Job& job : jobs) {
    absl::StrAppendFormat(&table, kLine, job.id(), StateText(job.state()), job.model(),
                          StepsText(job), LossText(job), TimeText(job.create_time()),
                          OrDash(Shortened(OneLine(job.reason()), kReasonBytes)));
  }
  return table;
}

std::string JobText(const v1::Job& job) {
  std::string text;
  AppendField("job", job.id().empty() ? "valid, and only checked" : job.id(), &text);
  AppendField("model", job.model(), &text);
  if (!job.id().empty()) AppendStanding(job, &text);
  AppendField("labels", LabelsText(job), &text);
  AppendField("priority", absl::StrCat(job.priority()), &text);
  AppendField("resumed", job.resumed_from(), &text);
  std::string config;
  google::protobuf::TextFormat::PrintToString(job.config(), &config);
  return absl::StrCat(text, "\n", config);
}

json JobJson(const v1::Job& job) {
  if (job.id().empty()) return CheckedJson(job);
  return {{"id", job.id()},
          {"model", job.model()},
          {"state", StateText(job.state())},
          {"reason", job.reason()},
          {"config", ConfigJson(job.config())},
          {"labels", LabelsJson(job)},
          {"priority", job.priority()},
          {"resumed_from", OrNull(job.resumed_from())},
          {"create_time", TimeOrNull(job.has_create_time(), job.create_time())},
          {"start_time", TimeOrNull(job.has_start_time(), job.start_time())},
          {"end_time", TimeOrNull(job.has_end_time(), job.end_time())},
          {"attempts", job.attempts()},
          {"failures", job.failures()},
          {"retry_time", TimeOrNull(job.has_retry_time(), job.retry_time())},
          {"progress", job.has_progress() ? ProgressJson(job.progress()) : json(nullptr)},
          {"evaluation", job.has_evaluation() ? EvaluationJson(job.evaluation()) : json(nullptr)},
          {"model_version", OrNull(job.model_version())},
          {"last_event", job.last_event()},
          {"disk_bytes", job.disk_bytes()}};
}

std::string EventLine(const v1::JobEvent& event) {
  return absl::StrFormat("%4d  %s  %s", event.number(), TimeText(event.time()),
                         WhatHappened(event));
}

json EventJson(const v1::JobEvent& event) {
  json object = {{"number", event.number()}, {"time", TimeText(event.time())}};
  if (event.has_state_change()) {
    object["state"] = StateText(event.state_change().state());
    object["reason"] = event.state_change().reason();
    object["attempt"] = event.state_change().attempt();
  }
  if (event.has_progress()) object["progress"] = ProgressJson(event.progress());
  if (event.has_evaluation()) object["evaluation"] = EvaluationJson(event.evaluation());
  if (event.has_checkpoint()) object["checkpoint"] = {{"step", event.checkpoint().step()}};
  if (event.event_case() == v1::JobEvent::kWarning) object["warning"] = event.warning();
  return object;
}

std::string ArtifactsTable(const std::vector<v1::Artifact>& artifacts) {
  constexpr char kHeading[] = "%-10s  %10s  %14s  %-25s  %s\n";
  std::string table = absl::StrFormat(kHeading, "KIND", "STEP", "BYTES", "WRITTEN", "NAME");
  for (const v1::Artifact& artifact : artifacts) {
    const bool checkpoint = artifact.kind() == v1::Artifact::KIND_CHECKPOINT;
    absl::StrAppendFormat(&table, kHeading, KindText(artifact.kind()),
                          checkpoint ? absl::StrCat(artifact.step()) : "-",
                          absl::StrCat(artifact.bytes()), TimeText(artifact.update_time()),
                          OneLine(artifact.name()));
  }
  return table;
}

json ArtifactJson(const v1::Artifact& artifact) {
  return {{"name", artifact.name()},
          {"kind", KindText(artifact.kind())},
          {"bytes", artifact.bytes()},
          {"update_time", TimeOrNull(artifact.has_update_time(), artifact.update_time())},
          {"step", artifact.step()}};
}

}  // namespace deweather
