#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace deweather {

double Progress(int64_t step, int64_t steps, absl::Duration elapsed, absl::Duration max_time) {
  const double by_steps = static_cast<double>(step) / static_cast<double>(steps);
  const double by_time =
      max_time == absl::InfiniteDuration() ? 0 : absl::FDivDuration(elapsed, max_time);
  return std::clamp(std::max(by_steps, by_time), 0.0, 1.0);
}

double LearningRate(const OptimizerOptions& options, int64_t step, double progress) {
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  const double rate =
      options.min_learning_rate + (options.learning_rate - options.min_learning_rate) * cosine;
  if (step >= options.warmup_steps) return rate;
  return rate * static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
}

}  // namespace deweather
