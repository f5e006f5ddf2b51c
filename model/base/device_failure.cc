#include "model/base/device_failure.h"

#include "absl/strings/cord.h"

namespace deweather {
namespace {

constexpr char kMarkUrl[] = "deweather/device_failure";

}  // namespace

absl::Status MarkDeviceFailure(absl::Status status) {
  status.SetPayload(kMarkUrl, absl::Cord());
  return status;
}

bool IsDeviceFailure(const absl::Status& status) { return status.GetPayload(kMarkUrl).has_value(); }

}  // namespace deweather
