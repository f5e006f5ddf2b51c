#include "model/layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "model/network.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

Conv RandomConv(int64_t channels, at::ScalarType dtype, at::Generator& generator) {
  return {at::empty({channels, channels, 3, 3}).uniform_(-0.1, 0.1, generator).to(dtype),
          at::empty({channels}).uniform_(-0.1, 0.1, generator).to(dtype)};
}

class PackedLayerTest : public testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Dtypes, PackedLayerTest, testing::Values(at::kFloat, at::kBFloat16));

// Of an input in any layout.
TEST_P(PackedLayerTest, EqualsPlain) {
  const c10::InferenceMode inference;
  at::Generator generator = at::detail::createCPUGenerator(5);
  ResBlock block{RandomConv(16, GetParam(), generator), RandomConv(16, GetParam(), generator)};
  const at::Tensor x = at::empty({2, 16, 12, 20}).uniform_(-1, 1, generator).to(GetParam());
  const at::Tensor plain = Apply(block, x.clone());
  const at::Tensor plain_conv = Apply(block.conv0, x);
  Pack(block);
  const double tolerance = GetParam() == at::kFloat ? 1e-5 : 2e-2;
  EXPECT_LE((Apply(block.conv0, x) - plain_conv).abs().max().item<double>(), tolerance);
  for (const auto layout : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const at::Tensor packed = Apply(block, x.clone(layout));
    EXPECT_LE((packed - plain).abs().max().item<double>(), tolerance);
  }
}

bool ProcessorSaysAvx512Bf16() {
  std::ifstream file("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return absl::StrContains(text, "avx512_bf16");
}

// All other tests of packed networks would compare the plain path with itself.
TEST(PackTest, PacksWhereTheProcessorHasTheKernels) {
  if (!ProcessorSaysAvx512Bf16()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  const ModelConfig config = TinyConfig();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Network network = BindNetwork(config, CastParameters(InitialParameters(config, 1), dtype));
    Pack(network);
    EXPECT_NE(network.transformer, nullptr);
    for (const Conv& conv : {network.head_conv, network.head_block0.conv0,
                             network.head_block1.conv1, network.tail_block0.conv0,
                             network.tail_conv0, network.tail_block1.conv1, network.tail_conv1}) {
      EXPECT_TRUE(conv.packed.defined());
    }
  }
}

TEST(PackTest, APackedNetworkHasNoGradients) {
  if (!HasCpuKernels()) GTEST_SKIP() << "this processor has no AVX-512 with bf16";
  const ModelConfig config = TinyConfig();
  Network network = BindNetwork(config, InitialParameters(config, 1));
  Pack(network);
  at::Tensor pictures = at::ones({1, 3, 32, 32});
  EXPECT_NO_THROW(Forward(network, pictures));
  EXPECT_THROW(Forward(network, pictures.set_requires_grad(true)), c10::Error);
}

TEST(PackTest, LeavesF64ToThePlainPath) {
  at::Generator generator = at::detail::createCPUGenerator(5);
  Conv conv = RandomConv(4, at::kDouble, generator);
  Pack(conv);
  EXPECT_FALSE(conv.packed.defined());
}

}  // namespace
}  // namespace deweather
