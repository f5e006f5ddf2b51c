// What a run leaves in its folder for those who watch it: log.jsonl (json_lines.h), an event file for
// TensorBoard (event_file.h) and curve.png (curve.h).
// A file that cannot be written is told of once and never ends the run.
//
// Owns     two open files
// Threads  thread-compatible

#ifndef DEWEATHER_TRAINING_REPORT_RUN_LOG_H_
#define DEWEATHER_TRAINING_REPORT_RUN_LOG_H_

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "training/report/append_file.h"
#include "training/report/event_file.h"
#include "training/report/record.h"

namespace deweather {

class RunLog {
 public:
  using Warn = std::function<void(const std::string& message)>;

  // Begins a life of the run that has `steps` steps behind it: what earlier lives wrote of later
  // steps is forgotten. `warn` gets one message a file that cannot be written.
  RunLog(std::string folder, int64_t steps, absl::Time now, Warn warn);

  void Add(const ScalarRecord& record);
  void Add(const EventRecord& record);

  // Draws the curve anew and sees that all of it survives a power cut: at a checkpoint and at the
  // end.
  void Checkpoint();

  // Records and curves that could not be written.
  int64_t lost() const { return lost_; }

 private:
  enum Output { kLog, kEvents, kCurve };

  void Check(Output output, const absl::Status& status);
  absl::Status AppendLine(const std::string& line);
  absl::Status Draw() const;
  std::string LogPath() const { return folder_ + "/log.jsonl"; }

  const std::string folder_;
  const Warn warn_;
  std::array<bool, 3> warned_ = {};
  int64_t lost_ = 0;
  std::optional<AppendFile> log_;
  std::optional<EventFile> events_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_RUN_LOG_H_
