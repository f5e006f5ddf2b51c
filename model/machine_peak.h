// What a machine reaches at best, to hold a network's speed against.

#ifndef DEWEATHER_MODEL_MACHINE_PEAK_H_
#define DEWEATHER_MODEL_MACHINE_PEAK_H_

#include <string>

namespace deweather {

struct MachinePeak {
  double gflops = 0;              // of a large matrix product: 2 x multiply-accumulates a second
  double gigabytes_a_second = 0;  // of a copy, read and written, that no cache holds
};

// The best of several goes with all of Torch's threads, in f32 or bf16; about a second. Throws c10::Error.
MachinePeak MeasurePeak(const std::string& device, const std::string& precision);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_MACHINE_PEAK_H_
