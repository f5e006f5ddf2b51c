#include "model/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

#ifdef DEWEATHER_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace deweather {
namespace {

#ifdef DEWEATHER_CUDA
constexpr bool kBuiltWithCuda = true;
#else
constexpr bool kBuiltWithCuda = false;
#endif

int CudaDeviceCount() {
#ifdef DEWEATHER_CUDA
  return static_cast<int>(at::cuda::device_count());
#else
  return 0;
#endif
}

}  // namespace

absl::StatusOr<at::Device> ResolveDevice(const std::string& name, int local) {
  if (name == "cpu") return at::Device(at::kCPU);
  const int devices = CudaDeviceCount();
  if (name == "auto" && devices == 0) return at::Device(at::kCPU);
  int index = local;
  absl::string_view number = name;
  const bool cuda =
      name == "auto" || name == "cuda" ||
      (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &index) && index >= 0);
  if (!cuda) {
    return absl::InvalidArgumentError(
        absl::StrFormat("unknown device '%s'; known: auto, cpu, cuda, cuda:N", name));
  }
  if (index >= devices) {
    return absl::InvalidArgumentError(
        kBuiltWithCuda
            ? absl::StrFormat("device '%s' is not there; CUDA devices: %d", name, devices)
            : absl::StrFormat("device '%s' is not there: this program is built without CUDA",
                              name));
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

int64_t PeakBytesOf(at::Device device) {
  if (!device.is_cuda()) return 0;
  return c10::getDeviceAllocator(device.type())
      ->getDeviceStats(device.index())
      .reserved_bytes[0]
      .peak;
}

void WaitFor(at::Device device) {
  if (!device.is_cuda()) return;
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

void UseDevice([[maybe_unused]] at::Device device) {
#ifdef DEWEATHER_CUDA
  if (device.is_cuda()) c10::cuda::set_device(device.index());
#endif
}

}  // namespace deweather
