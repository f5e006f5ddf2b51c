#include "training/report/run_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/status_macros.h"
#include "training/report/curve.h"
#include "training/report/json_lines.h"

namespace deweather {

RunLog::RunLog(std::string folder, int64_t steps, absl::Time now, Warn warn)
    : folder_(std::move(folder)), warn_(std::move(warn)) {
  Check(kLog, ForgetAfter(steps, LogPath()));
  absl::StatusOr<AppendFile> log = AppendFile::Open(LogPath());
  Check(kLog, log.status());
  if (log.ok()) log_.emplace(*std::move(log));
  absl::StatusOr<EventFile> events = EventFile::Open(folder_, steps, now);
  Check(kEvents, events.status());
  if (events.ok()) events_.emplace(*std::move(events));
}

void RunLog::Add(const ScalarRecord& record) {
  Check(kLog, AppendLine(JsonLine(record)));
  Check(kEvents, events_ ? events_->Append(record) : absl::UnavailableError("not open"));
}

void RunLog::Add(const EventRecord& record) { Check(kLog, AppendLine(JsonLine(record))); }

void RunLog::Checkpoint() {
  Check(kCurve, Draw());
  if (log_) Check(kLog, log_->Sync());
  if (events_) Check(kEvents, events_->Sync());
}

void RunLog::Check(Output output, const absl::Status& status) {
  if (status.ok()) return;
  ++lost_;
  if (warned_[output]) return;
  warned_[output] = true;
  constexpr std::array<const char*, 3> kNames = {"log", "event file", "curve"};
  warn_(absl::StrCat(kNames[output], ": ", std::string(status.message()),
                     "; training goes on without what cannot be written"));
}

absl::Status RunLog::AppendLine(const std::string& line) {
  return log_ ? log_->Append(line) : absl::UnavailableError("not open");
}

absl::Status RunLog::Draw() const {
  DW_ASSIGN_OR_RETURN(CurveRun run, ReadRun(LogPath()));
  return WriteCurve({std::move(run)}, folder_ + "/curve.png");
}

}  // namespace deweather
