// A whole network on a GPU, against the CPU in f32: the same picture, the same experts.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <string>

#include "model/checkpoint.h"
#include "model/restorer.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

struct NetworkCase {
  ExpertKind kind;
  int experts, kept;
  FirstExpert first_expert;
};

class RestorerCudaTest : public testing::TestWithParam<NetworkCase> {};
INSTANTIATE_TEST_SUITE_P(
    Cases, RestorerCudaTest,
    testing::Values(NetworkCase{ExpertKind::kDense, 0, 0, FirstExpert::kModulate},
                    NetworkCase{ExpertKind::kFfn, 4, 2, FirstExpert::kModulate},
                    NetworkCase{ExpertKind::kFme, 4, 2, FirstExpert::kModulate},
                    NetworkCase{ExpertKind::kFme, 16, 4, FirstExpert::kGelu},
                    NetworkCase{ExpertKind::kFme, 128, 8, FirstExpert::kModulate}));

Restored Restore(const Checkpoint& checkpoint, const std::string& device, Precision precision,
                 const at::Tensor& tiles) {
  const auto restorer = MakeRestorer(checkpoint, {.device = device, .precision = precision});
  EXPECT_TRUE(restorer.ok()) << restorer.status();
  auto restored = restorer->forward(tiles, {});
  EXPECT_TRUE(restored.ok()) << restored.status();
  return *std::move(restored);
}

// 45 dB, of sums in another order, TensorFloat-32 and tokens whose experts are nearly tied.
TEST_P(RestorerCudaTest, EqualsCpu) {
  if (!at::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  Checkpoint checkpoint;
  checkpoint.config = TinyConfig(GetParam().kind);
  checkpoint.config.channels = 16;
  checkpoint.config.experts = GetParam().experts;
  checkpoint.config.kept = GetParam().kept;
  checkpoint.config.first_expert = GetParam().first_expert;
  checkpoint.parameters = InitialParameters(checkpoint.config, 7);
  at::Generator generator = at::detail::createCPUGenerator(1);
  const at::Tensor tiles = at::empty({3, 3, 32, 40}).uniform_(0, 1, generator);
  const Restored expected = Restore(checkpoint, "cpu", Precision::kF32, tiles);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const Restored restored = Restore(checkpoint, "cuda:0", precision, tiles);
    EXPECT_LE((restored.tiles - expected.tiles).square().mean().item<double>(), 3e-5);
    EXPECT_EQ(restored.tokens.sum().item<int64_t>(), expected.tokens.sum().item<int64_t>());
  }
}

}  // namespace
}  // namespace deweather
