// The masks of the CUDA kernel are the CPU's, to the bit.

#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/kernels/dropout.h"

namespace deweather {
namespace {

TEST(DropoutCudaTest, EqualsCpu) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const at::Tensor keys = at::tensor(std::vector<int64_t>{3, -1, 1LL << 40}, at::kLong);
  for (const int64_t width : {1, 7, 32, 385, 4100}) {
    EXPECT_TRUE(at::equal(DropoutMask(keys.cuda(), 70, width, 0.1, 1, 3).cpu(),
                          DropoutMask(keys, 70, width, 0.1, 1, 3)))
        << width;
  }
}

TEST(DropoutCudaTest, OnADeviceThatIsNotCurrent) {
  if (at::cuda::getNumGPUs() < 2) GTEST_SKIP() << "fewer than two CUDA devices";
  const at::Tensor keys = at::tensor(std::vector<int64_t>{3, -1}, at::kLong);
  EXPECT_TRUE(at::equal(DropoutMask(keys.to(at::Device(at::kCUDA, 1)), 70, 32, 0.1, 1, 3).cpu(),
                        DropoutMask(keys, 70, 32, 0.1, 1, 3)));
}

}  // namespace
}  // namespace deweather
