// A picture of how runs went: their losses and, where there were evaluations, their PSNR.
//
// Threads  thread-safe: functions of their arguments and files

#ifndef DEWEATHER_TRAINING_REPORT_CURVE_H_
#define DEWEATHER_TRAINING_REPORT_CURVE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/image/image.h"
#include "training/report/record.h"

namespace deweather {

// One run, as its log tells it (json_lines.h).
struct CurveRun {
  std::string name;
  std::vector<ScalarRecord> records;  // in the order of their steps
};

// Every point as the mean of its neighbours, nearer ones counting more, at most `reach` to either
// side. What is not finite, or for geometric means not positive, is left out and NaN.
std::vector<double> Smooth(const std::vector<double>& values, int reach, bool geometric);

// A run by its log, under the name of its folder, or the log's own if it is not called log.jsonl.
absl::StatusOr<CurveRun> ReadRun(const std::string& log);

// 1600x1000 pixels, RGB. Above every "loss/..." but the terms that are no task's, smoothed, and the first
// of each run also as it was, in pale; on a logarithmic scale unless one is negative. Below every
// "evaluation/.../psnr_rgb".
Image DrawCurve(const std::vector<CurveRun>& runs);

// DrawCurve as a PNG that replaces `path` atomically.
absl::Status WriteCurve(const std::vector<CurveRun>& runs, const std::string& path);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_CURVE_H_
