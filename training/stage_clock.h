// The time that a network's stages take, which model/ marks with RECORD_USER_SCOPE under the names of
// stage_cost.h. Of a stage within another the inner one counts.

#ifndef DEWEATHER_TRAINING_STAGE_CLOCK_H_
#define DEWEATHER_TRAINING_STAGE_CLOCK_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <string>

namespace deweather {

// While it lives, adds up the wall time that this thread spends in each stage. On a GPU it waits for the
// device at every end, so that the sum is longer than an undisturbed pass.
class StageClock {
 public:
  explicit StageClock(at::Device device);
  ~StageClock();
  StageClock(const StageClock&) = delete;
  StageClock& operator=(const StageClock&) = delete;

  const std::map<std::string, double>& milliseconds() const { return milliseconds_; }

 private:
  struct Visit;
  friend struct Visit;

  at::Device device_;
  uint64_t callback_;
  Visit* innermost_ = nullptr;
  std::map<std::string, double> milliseconds_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_STAGE_CLOCK_H_
