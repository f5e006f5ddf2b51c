// The mark of an error after which a device computes nothing more: whoever sees it must restart the
// process. (CUDA's sticky errors: an illegal address, a failed launch, an uncorrectable memory error.)
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_MODEL_BASE_DEVICE_FAILURE_H_
#define DEWEATHER_MODEL_BASE_DEVICE_FAILURE_H_

#include "absl/status/status.h"

namespace deweather {

// `status` with the mark. REQUIRES: it is not OK.
absl::Status MarkDeviceFailure(absl::Status status);

bool IsDeviceFailure(const absl::Status& status);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_DEVICE_FAILURE_H_
