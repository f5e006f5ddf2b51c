// Names of devices in configurations: auto, cpu, cuda, cuda:N.

#ifndef DEWEATHER_MODEL_BASE_DEVICE_NAME_H_
#define DEWEATHER_MODEL_BASE_DEVICE_NAME_H_

#include <string_view>

#include "absl/status/status.h"

namespace deweather {

// INVALID_ARGUMENT unless `device` is auto, cpu, cuda, or cuda:0 to cuda:127; whether the machine has it is
// not looked at. The message begins with "device".
absl::Status ValidateDeviceName(std::string_view device);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_DEVICE_NAME_H_
