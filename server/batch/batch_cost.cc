#include "server/batch/batch_cost.h"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace deweather {
namespace {

constexpr size_t kSamplesOfASize = 10;

}  // namespace

void BatchCost::Add(int64_t pixels, absl::Duration time) {
  MutexLock lock(mutex_);
  std::deque<Sample>& samples = samples_[std::bit_width(static_cast<uint64_t>(pixels))];
  samples.push_back({pixels, absl::ToDoubleSeconds(time)});
  if (samples.size() > kSamplesOfASize) samples.pop_front();
}

std::vector<BatchCost::Sample> BatchCost::Samples() const {
  MutexLock lock(mutex_);
  std::vector<Sample> all;
  for (const auto& [size, samples] : samples_) {
    all.insert(all.end(), samples.begin(), samples.end());
  }
  return all;
}

CostFit BatchCost::Fit() const {
  const std::vector<Sample> samples = Samples();
  if (samples.empty()) return {};
  const auto count = static_cast<double>(samples.size());
  double mean_x = 0;
  double mean_y = 0;
  int64_t most = 0;
  for (const Sample& sample : samples) {
    mean_x += sample.megapixels() / count;
    mean_y += sample.seconds / count;
    most = std::max(most, sample.pixels);
  }
  double covariance = 0;
  double variance = 0;
  for (const Sample& sample : samples) {
    covariance += (sample.megapixels() - mean_x) * (sample.seconds - mean_y);
    variance += (sample.megapixels() - mean_x) * (sample.megapixels() - mean_x);
  }
  // Batches of one size tell nothing of the fixed part: all of it is taken as the pixels'.
  double slope = variance > 1e-12 ? covariance / variance : mean_y / mean_x;
  slope = std::clamp(slope, 0.0, mean_y / mean_x);
  return {absl::Seconds(std::max(0.0, mean_y - slope * mean_x)), absl::Seconds(slope), most};
}

}  // namespace deweather
