#include "server/batch/batch_cost.h"

#include <algorithm>
#include <cstddef>

namespace deweather {
namespace {

constexpr size_t kSamples = 50;

}  // namespace

void BatchCost::Add(int64_t pixels, absl::Duration time) {
  MutexLock lock(mutex_);
  samples_.push_back({static_cast<double>(pixels) * 1e-6, absl::ToDoubleSeconds(time)});
  if (samples_.size() > kSamples) samples_.pop_front();
}

CostFit BatchCost::Fit() const {
  MutexLock lock(mutex_);
  if (samples_.empty()) return {};
  const auto count = static_cast<double>(samples_.size());
  double mean_x = 0;
  double mean_y = 0;
  for (const Sample& sample : samples_) {
    mean_x += sample.megapixels / count;
    mean_y += sample.seconds / count;
  }
  double covariance = 0;
  double variance = 0;
  for (const Sample& sample : samples_) {
    covariance += (sample.megapixels - mean_x) * (sample.seconds - mean_y);
    variance += (sample.megapixels - mean_x) * (sample.megapixels - mean_x);
  }
  // Batches of one size tell nothing of the fixed part: all of it is taken as the pixels'.
  double slope = variance > 1e-12 ? covariance / variance : mean_y / mean_x;
  slope = std::clamp(slope, 0.0, mean_y / mean_x);
  return {absl::Seconds(std::max(0.0, mean_y - slope * mean_x)), absl::Seconds(slope)};
}

}  // namespace deweather
