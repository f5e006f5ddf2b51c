// The log of a run as JSON lines, for programs and for people who grep.
//
// Format   one object a line. Figures: {"step":50,"time":"2026-01-31T12:00:00.250Z","loss/task":0.02,
//          ...}; what is not finite is null, for JSON has no NaN. What happened:
//          {"step":50,"time":...,"event":"checkpoint",...}. A line is written at once or not at all;
//          readers skip what is no such object, such as the torn last line after a power cut.
// Threads  thread-safe: functions of their arguments and the file
// Errors   what errno says; NOT_FOUND

#ifndef DEWEATHER_TRAINING_REPORT_JSON_LINES_H_
#define DEWEATHER_TRAINING_REPORT_JSON_LINES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/report/record.h"

namespace deweather {

// With the line's end.
std::string JsonLine(const ScalarRecord& record);
std::string JsonLine(const EventRecord& record);

// The figures of a log, in its order; null reads as NaN.
absl::StatusOr<std::vector<ScalarRecord>> ReadJsonLines(const std::string& path);

// Removes the lines of steps after `step`, and those that are none of ours, from the log if there
// is one: a run that goes on from `step` writes them again. Replaces the file atomically.
absl::Status ForgetAfter(int64_t step, const std::string& path);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_JSON_LINES_H_
