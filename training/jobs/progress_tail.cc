#include "training/jobs/progress_tail.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

using json = nlohmann::json;

constexpr absl::Duration kBetweenProgress = absl::Seconds(1);
constexpr absl::Duration kLongestRun = absl::Hours(24 * 365 * 100);
constexpr int64_t kMaxStep = 1'000'000'000;
constexpr int64_t kMaxImagesPerLine = 1'000'000'000'000;
constexpr int64_t kMaxExitStatus = 255;
constexpr size_t kMaxFigures = 256;
constexpr size_t kMaxNameBytes = 128;
constexpr int kMaxLooks = 256;  // at the end

constexpr std::string_view kLossStem = "loss/";
constexpr std::string_view kEvaluationStem = "evaluation/";

int64_t Integer(const json& object, const char* name, int64_t max) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return -1;
  const auto value = found->get<double>();
  return value >= 0 && value <= static_cast<double>(max) ? found->get<int64_t>() : -1;
}

// NaN is none.
int64_t ToCount(double value) {
  return value > 0 ? static_cast<int64_t>(std::min(value, 1.0 * kMaxStep)) : 0;
}

// A term of the loss that is no task's.
bool IsTerm(std::string_view name) {
  return name == "balance" || name == "uncertainty" || name == "distill";
}

std::string Text(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

// A line of the log.
struct ProgressTail::Record {
  int64_t step = 0;
  absl::Time time = absl::InfinitePast();
  std::string event = {};  // empty: figures
  std::string code = {};
  std::string message = {};
  int64_t exit_status = -1;
  int64_t steps = -1;
  int64_t images_per_step = -1;
  std::map<std::string, double> figures = {};

  double Figure(const std::string& name) const {
    const auto found = figures.find(name);
    return found != figures.end() ? found->second : 0;
  }
  bool Measures() const {
    const auto first = figures.lower_bound(std::string(kEvaluationStem));
    return first != figures.end() && first->first.starts_with(kEvaluationStem);
  }
};

std::string ProgressPath(const std::string& jobs, const std::string& id) {
  return JobRunFolder(jobs, id) + "/log.jsonl";
}

Told ToldOf(const Job& job, const std::vector<JobEvent>& events) {
  Told told{.step = job.submitted.resumed_from.empty() ? -1 : std::numeric_limits<int64_t>::max(),
            .time = job.create_time};
  for (const JobEvent& event : events) {
    if (event.kind == JobEventKind::kState) continue;
    told.time = std::max(told.time, event.time);
    told.step = std::max({told.step, event.step, event.progress.step, event.evaluation.step});
  }
  return told;
}

std::vector<JobEvent> ProgressTail::Look(absl::Time now) {
  std::vector<JobEvent> events;
  ReadMore(now, events);
  if (now - progress_time_ >= kBetweenProgress || now < progress_time_) {
    if (held_) progress_time_ = now;
    TellProgress(events);
  }
  return events;
}

std::vector<JobEvent> ProgressTail::Finish(absl::Time now) {
  std::vector<JobEvent> events;
  for (int look = 0; look < kMaxLooks && ReadMore(now, events); ++look) {
  }
  TellProgress(events);
  return events;
}

// Whether there is more.
bool ProgressTail::ReadMore(absl::Time now, std::vector<JobEvent>& events) {
  const LineTail::Look look = tail_.Read();
  if (look.other_file) catching_up_ = true;
  for (const std::string& line : look.lines) {
    const std::optional<Record> record = Parse(line, now);
    if (!record) continue;
    if (record->event == "started") BeginLife(*record);
    EndLife(*record);
    const bool fresh = IsNew(*record);
    if (fresh && record->event == "checkpoint" && record->step > begin_step_) saved_ = true;
    CountImages(*record, fresh);
    std::optional<JobEvent> event = ToEvent(*record);
    if (event && fresh) Tell(*std::move(event), events);
  }
  return look.more;
}

// A clock that is ahead of ours does not lead into the future.
std::optional<ProgressTail::Record> ProgressTail::Parse(std::string_view line, absl::Time now) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  Record record{.step = Integer(object, "step", kMaxStep)};
  if (record.step < 0 ||
      !absl::ParseTime(absl::RFC3339_full, Text(object, "time"), &record.time, nullptr) ||
      record.time < absl::UnixEpoch()) {
    return std::nullopt;
  }
  record.time = std::min(record.time, now);
  record.event = Text(object, "event");
  record.code = Text(object, "code");
  record.message = Text(object, "message");
  record.exit_status = Integer(object, "exit_status", kMaxExitStatus);
  record.steps = Integer(object, "steps", kMaxStep);
  record.images_per_step = Integer(object, "images_per_step", kMaxStep);
  for (const auto& [name, value] : object.items()) {
    if (record.figures.size() == kMaxFigures || name.size() > kMaxNameBytes) continue;
    if (value.is_number()) record.figures[name] = value.get<double>();
    if (value.is_null()) record.figures[name] = std::numeric_limits<double>::quiet_NaN();
  }
  return record;
}

// The first record that is new ends what was there before.
bool ProgressTail::IsNew(const Record& record) {
  if (catching_up_ && record.time <= told_.time && record.step <= told_.step) return false;
  catching_up_ = false;
  told_.time = std::max(told_.time, record.time);
  told_.step = std::max(told_.step, record.step);
  return true;
}

// A program begins, with those steps behind it.
void ProgressTail::BeginLife(const Record& record) {
  steps_ = std::max<int64_t>(record.steps, 0);
  images_per_step_ = std::max<int64_t>(record.images_per_step, 0);
  begin_step_ = counted_step_ = record.step;
  begin_time_ = record.time;
  saved_ = false;
  end_.reset();
}

// A run that failed before its first step tells no beginning.
void ProgressTail::EndLife(const Record& record) {
  if (record.event == "finished") end_ = RunEnd{.time = record.time, .finished = true};
  if (record.event != "failed" && record.event != "stopped") return;
  end_ = RunEnd{.time = record.time,
                .exit_status = static_cast<int>(std::max<int64_t>(record.exit_status, 0)),
                .message = absl::StrCat(record.code, ": ", record.message)};
}

void ProgressTail::CountImages(const Record& record, bool fresh) {
  if (!record.event.empty() || record.Measures()) return;
  const int64_t steps = record.step - std::exchange(counted_step_, record.step);
  if (fresh && steps > 0 && images_per_step_ < kMaxImagesPerLine / steps) {
    images_ += steps * images_per_step_;
  }
}

std::optional<JobEvent> ProgressTail::ToEvent(const Record& record) {
  JobEvent event{.time = record.time};
  if (record.event == "checkpoint") {
    event.kind = JobEventKind::kCheckpoint;
    event.step = record.step;
  } else if (record.event == "warning") {
    event.kind = JobEventKind::kWarning;
    event.text = OneLine(record.message);
  } else if (!record.event.empty()) {
    return std::nullopt;
  } else if (record.Measures()) {
    event.kind = JobEventKind::kEvaluation;
    event.evaluation = ToEvaluation(record);
  } else if (record.figures.contains("loss/all")) {
    event.kind = JobEventKind::kProgress;
    event.progress = ToProgress(record);
  } else {
    return std::nullopt;
  }
  return event;
}

JobProgress ProgressTail::ToProgress(const Record& record) {
  JobProgress progress{.step = record.step,
                       .steps = std::max({steps_, record.step, int64_t{1}}),
                       .loss = record.Figure("loss/all"),
                       .images_per_second = record.Figure("images_per_second"),
                       .learning_rate = record.Figure("learning_rate"),
                       .bad_steps = ToCount(record.Figure("skipped/steps")),
                       .remaining = Remaining(record)};
  for (const auto& [name, value] : record.figures) {
    if (!name.starts_with(kLossStem) || name == "loss/all") continue;
    const std::string term = name.substr(kLossStem.size());
    progress.terms[IsTerm(term) ? term : name] = value;
  }
  return progress;
}

// Each set has a line of its own; what was measured at one step belongs together.
JobEvaluation ProgressTail::ToEvaluation(const Record& record) {
  if (record.step != evaluation_.step) evaluation_ = {.step = record.step};
  for (const auto& [name, value] : record.figures) {
    if (!name.starts_with(kEvaluationStem) || evaluation_.figures.size() >= kMaxFigures) continue;
    evaluation_.figures[name.substr(kEvaluationStem.size())] = value;
  }
  return evaluation_;
}

// By the pace since the program began.
std::optional<absl::Duration> ProgressTail::Remaining(const Record& record) const {
  const int64_t done = record.step - begin_step_;
  const absl::Duration took = record.time - begin_time_;
  if (done <= 0 || took <= absl::ZeroDuration() || steps_ < record.step) return std::nullopt;
  const absl::Duration remaining =
      took * (static_cast<double>(steps_ - record.step) / static_cast<double>(done));
  if (remaining > kLongestRun) return std::nullopt;
  return remaining;
}

void ProgressTail::Tell(JobEvent event, std::vector<JobEvent>& events) {
  if (event.kind == JobEventKind::kProgress) {
    held_ = std::move(event);
  } else if (MayTell(event)) {
    TellProgress(events);
    events.push_back(std::move(event));
  }
}

bool ProgressTail::MayTell(JobEvent& event) {
  if (event.kind != JobEventKind::kWarning) return ++others_ <= kMaxOthers;
  if (++warnings_ == kMaxWarnings) event.text = "too many warnings: the log has the others";
  return warnings_ <= kMaxWarnings;
}

void ProgressTail::TellProgress(std::vector<JobEvent>& events) {
  if (held_) events.push_back(*std::exchange(held_, std::nullopt));
}

}  // namespace deweather
