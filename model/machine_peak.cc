#include "model/machine_peak.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/rand_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <functional>

#include "absl/time/clock.h"
#include "model/device.h"
#include "model/kernels/packed_linear.h"

namespace deweather {
namespace {

constexpr int kGoes = 7;

double LeastSeconds(at::Device device, const std::function<void()>& run) {
  double least = 1e9;
  for (int go = 0; go < kGoes; ++go) {
    const absl::Time begin = absl::Now();
    run();
    WaitFor(device);
    least = std::min(least, absl::ToDoubleSeconds(absl::Now() - begin));
  }
  return least;
}

// Of side x side, by whichever is faster: Torch's product or our own kernel's.
double LeastSecondsOfProduct(at::Device device, at::ScalarType dtype, int64_t side) {
  const at::Tensor a = at::rand({side, side}, device).to(dtype), b = at::rand_like(a);
  at::Tensor product = at::empty_like(a);
  const double torchs = LeastSeconds(device, [&] { at::mm_out(product, a, b); });
  if (!device.is_cpu() || !HasCpuKernels()) return torchs;
  const PackedLinear packed = Pack(b, {});
  return std::min(torchs, LeastSeconds(device, [&] { Multiply(packed, a); }));
}

}  // namespace

MachinePeak MeasurePeak(const std::string& device_name, const std::string& precision) {
  const c10::InferenceMode inference;
  const at::Device device(device_name);
  const at::ScalarType dtype = precision == "bf16" ? at::kBFloat16 : at::kFloat;
  const int64_t side = device.is_cuda() ? 8192 : 2048;
  const double seconds = LeastSecondsOfProduct(device, dtype, side);
  const double cube = static_cast<double>(side) * static_cast<double>(side * side);

  const at::Tensor from = at::zeros({int64_t{1} << 26}, device);  // 256 MiB
  at::Tensor to = at::zeros_like(from);
  const double copied = LeastSeconds(device, [&] { to.copy_(from); });
  return {2 * cube / seconds * 1e-9, 2 * static_cast<double>(from.nbytes()) / copied * 1e-9};
}

}  // namespace deweather
