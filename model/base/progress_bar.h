// How far a run is, as one line that is written over on a terminal.
//
// Threads  thread-compatible

#ifndef DEWEATHER_MODEL_BASE_PROGRESS_BAR_H_
#define DEWEATHER_MODEL_BASE_PROGRESS_BAR_H_

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace deweather {

struct BarState {
  int64_t step = 0;  // steps done, of all lives of the run
  int64_t steps = 0;
  int64_t first_step = 0;  // at which `elapsed` began
  double loss = 0;         // NaN: not yet known, not shown; so are the images
  double images_per_second = 0;
  absl::Duration elapsed = absl::ZeroDuration();
  // Until the run's time is up.
  absl::Duration remaining_time = absl::InfiniteDuration();
  // Time until the end if that is known already, not from `elapsed`.
  std::optional<absl::Duration> left = {};
};

// Until the steps are done at the pace since `first_step`, or the time is up; nothing at first.
std::optional<absl::Duration> TimeLeft(const BarState& state);

// "3d 04h", "1h 02m", "2m 03s", "5s".
std::string ShortDuration(absl::Duration duration);

// "250/1000 [=====>              ]  25%  loss 0.0214  28.1 images/s  1h 02m left", in fewer than
// `columns` bytes of ASCII: what has no room is left out, first the images, last the steps.
std::string ProgressLine(const BarState& state, int columns);

// Columns of the terminal behind `file`; 80 if it does not tell.
int TerminalColumns(std::FILE* file);

// A line at the bottom of a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::FILE* terminal) : terminal_(terminal) {}
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Draw(const BarState& state);

  // Takes the line away: before anything else is written, and at the end.
  void Clear();

 private:
  std::FILE* const terminal_;
  bool drawn_ = false;
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_PROGRESS_BAR_H_
