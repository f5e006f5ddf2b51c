#include "training/jobs/attempt.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

constexpr absl::Duration kBetweenChecks = absl::Seconds(1);

// Not a rule of "=====", as torchrun ends its report with.
bool SaysSomething(std::string_view line) {
  return std::any_of(line.begin(), line.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c); });
}

std::string TailPath(const AttemptOptions& options) {
  return JobRunFolder(options.jobs, options.id) + "/log.jsonl";
}

}  // namespace

Attempt::Attempt(AttemptOptions options, RunningProgram program, absl::Time now)
    : options_(std::move(options)),
      program_(std::move(program)),
      start_time_(now),
      tail_(TailPath(options_), options_.told),
      check_time_(now) {
  absl::StatusOr<JobLog> log =
      JobLog::Open(JobLogPath(options_.jobs, options_.id), options_.training.max_log_bytes);
  if (log.ok()) {
    log_.emplace(*std::move(log));
  } else {
    options_.log(absl::StrCat("job ", options_.id, ": no log: ", log.status().message()));
  }
}

std::vector<JobEvent> Attempt::Look(absl::Time now) {
  if (!exit_) exit_ = program_.poll();
  const bool left = exit_ && program_.left && program_.left();
  gone_ = exit_ && !left;
  ReadOutput();
  if (gone_) return tail_.Finish(now);
  if (left) ladder_.Begin(now, options_.training.stop_grace);
  CheckLimits(now);
  const int signal = ladder_.Next(exit_.has_value(), now);
  if (signal != 0) program_.signal(signal);
  return tail_.Look(now);
}

void Attempt::Stop(StopRequest request, absl::Time now) {
  StopWithin(options_.training.stop_grace, std::move(request), now);
}

void Attempt::StopWithin(absl::Duration grace, StopRequest request, absl::Time now) {
  if (!told_) told_ = std::move(request);
  ladder_.Begin(now, grace);
}

ProgramEnd Attempt::end() const {
  return {.exit = *exit_, .told = told_, .last_line = SaysSomething(line_) ? line_ : last_line_};
}

// What eats the memory is not asked.
void Attempt::CheckLimits(absl::Time now) {
  if (now < check_time_ && check_time_ - now <= kBetweenChecks) return;
  check_time_ = now + kBetweenChecks;
  if (auto reason = BeyondTime(now - start_time_, options_.training)) {
    Stop({StopCause::kLimit, *reason}, now);
  }
  const int64_t bytes = program_.resident_bytes ? program_.resident_bytes() : 0;
  if (auto reason = BeyondMemory(bytes, options_.training)) {
    StopWithin(absl::ZeroDuration(), {StopCause::kLimit, *reason}, now);
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
  if (!log_) return;
  const absl::Status status = log_->Append(text);
  if (status.ok()) return;
  options_.log(absl::StrCat("job ", options_.id,
                            ": the rest of what it prints is lost: ", status.message()));
  log_.reset();
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
