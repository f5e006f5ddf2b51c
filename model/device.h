// Which device a name means.

#ifndef DEWEATHER_MODEL_DEVICE_H_
#define DEWEATHER_MODEL_DEVICE_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace deweather {

// `name` is auto, cpu, cuda or cuda:N; auto and cuda alone are GPU `local` of the machine, auto the CPU where
// there is none. INVALID_ARGUMENT another name, or a device that is not there.
absl::StatusOr<at::Device> ResolveDevice(const std::string& name, int local = 0);

// The most memory that Torch has taken of a GPU; 0 for the CPU. Throws c10::Error.
int64_t PeakBytesOf(at::Device device);

// Returns when the device has done what it was given; the CPU always has. Throws c10::Error.
void WaitFor(at::Device device);

// Kernels that the calling thread starts go to this device. Throws c10::Error.
void UseDevice(at::Device device);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_DEVICE_H_
