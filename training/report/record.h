// What a training run tells of itself while it goes on.

#ifndef DEWEATHER_TRAINING_REPORT_RECORD_H_
#define DEWEATHER_TRAINING_REPORT_RECORD_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace deweather {

// Figures at a step. A name is a path, "loss/task" or "evaluation/rain/psnr_y": what begins alike is
// shown together. "step", "time" and "event" are no names. A figure may be NaN or infinite.
struct ScalarRecord {
  int64_t step = 0;  // steps done
  absl::Time time;
  std::vector<std::pair<std::string, double>> values;
};

// Something that happened: "started", "resumed", "checkpoint", "stopped", "warning".
struct EventRecord {
  int64_t step = 0;
  absl::Time time;
  std::string event;
  std::vector<std::pair<std::string, std::variant<int64_t, double, std::string>>> details;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_RECORD_H_
