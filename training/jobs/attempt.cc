#include "training/jobs/attempt.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

constexpr absl::Duration kBetweenChecks = absl::Seconds(1);

// Not a rule of "=====", as torchrun ends its report with.
bool SaysSomething(std::string_view line) {
  return std::any_of(line.begin(), line.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c); });
}

}  // namespace

Attempt::Attempt(AttemptOptions options, RunningProgram program, absl::Time now, absl::Time steady)
    : options_(std::move(options)),
      program_(std::move(program)),
      start_time_(now),
      start_steady_(steady),
      tail_(ProgressPath(options_.jobs, options_.id), options_.told),
      check_time_(steady) {
  Keep("");  // a job that says nothing has a log
}

std::vector<JobEvent> Attempt::Look(absl::Time now, absl::Time steady) {
  if (!exit_) exit_ = program_.poll();
  const bool left = exit_ && program_.left && program_.left();
  gone_ = exit_ && !left;
  ReadOutput();
  if (gone_) {
    Keep("");  // what was lost at the end is told of, too
    return tail_.Finish(now);
  }
  if (left) ladder_.Begin(steady, options_.training.stop_grace);
  CheckLimits(steady);
  const int signal = ladder_.Next(exit_.has_value(), steady);
  if (signal != 0) program_.signal(signal);
  return tail_.Look(now);
}

void Attempt::Stop(StopRequest request, absl::Time steady) {
  StopWithin(options_.training.stop_grace, std::move(request), steady);
}

void Attempt::StopWithin(absl::Duration grace, StopRequest request, absl::Time steady) {
  if (!told_) told_ = std::move(request);
  ladder_.Begin(steady, grace);
}

// What the run itself says of its end comes before what its launcher makes of it. Its log tells
// milliseconds.
ProgramEnd Attempt::end() const {
  ProgramEnd end{.exit = *exit_,
                 .told = told_,
                 .saved = tail_.saved(),
                 .last_line = SaysSomething(line_) ? line_ : last_line_};
  const std::optional<RunEnd>& said = tail_.end();
  if (!said || said->time < start_time_ - absl::Milliseconds(1)) return end;
  end.finished = said->finished;
  if (said->exit_status == 0 || end.exit.ok() || end.exit.signal != 0) return end;
  end.exit.status = said->exit_status;
  end.last_line = said->message;
  return end;
}

// What eats the memory is not asked.
void Attempt::CheckLimits(absl::Time steady) {
  if (steady < check_time_) return;
  check_time_ = steady + kBetweenChecks;
  if (auto reason = BeyondTime(steady - start_steady_, options_.training)) {
    Stop({StopCause::kLimit, *reason}, steady);
  }
  const int64_t bytes = program_.resident_bytes ? program_.resident_bytes() : 0;
  if (auto reason = BeyondMemory(bytes, options_.training)) {
    StopWithin(absl::ZeroDuration(), {StopCause::kLimit, *reason}, steady);
  }
}

void Attempt::ReadOutput() {
  int64_t bytes = 0;
  while (program_.output && bytes < kMaxOutputBytes) {
    const std::string text = program_.output();
    if (text.empty()) return;
    bytes += std::ssize(text);
    Keep(text);
    RememberLines(text);
  }
}

void Attempt::Keep(std::string_view text) {
  const absl::Status status = AppendToLog(text);
  if (status.ok()) return;
  if (lost_ == 0) {
    options_.log(
        absl::StrCat("job ", options_.id, ": what it prints is lost for now: ", status.message()));
  }
  lost_ += std::ssize(text);
}

// What of the text was written when an error came is counted as lost, too.
absl::Status Attempt::AppendToLog(std::string_view text) {
  if (!log_) {
    DW_ASSIGN_OR_RETURN(JobLog log, JobLog::Open(JobLogPath(options_.jobs, options_.id),
                                                 options_.training.max_log_bytes));
    log_.emplace(std::move(log));
  }
  if (lost_ > 0) {
    DW_RETURN_IF_ERROR(log_->Append(absl::StrFormat("\n[%d bytes could not be written]\n", lost_)));
    lost_ = 0;
  }
  return log_->Append(text);
}

void Attempt::RememberLines(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const size_t room = kMaxShownBytes - std::min(line_.size(), kMaxShownBytes);
    line_.append(text.substr(0, std::min(end, room)));
    if (end == text.size()) return;
    if (SaysSomething(line_)) last_line_ = line_;
    line_.clear();
    text.remove_prefix(end + 1);
  }
}

}  // namespace deweather
