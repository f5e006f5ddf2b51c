// Times the CPU's kernels at the paper's size, each beside what Torch has for the same: first both must agree.
//
//   kernels_bench [--benchmark_filter=REGEX] [--benchmark_format=json]

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include <functional>
#include <string>

#include "model/base/processors.h"
#include "model/kernels/conv3x3.h"
#include "model/kernels/modulate_mix.h"
#include "model/kernels/packed_attention.h"
#include "model/kernels/packed_linear.h"
#include "model/kernels/token_sort.h"

// As in training/main.cc: what is freed stays mapped.
extern "C" const char* malloc_conf;
const char* malloc_conf = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1";

namespace deweather {
namespace {

constexpr int64_t kTokens = 1024, kWidth = 384, kKept = 4, kHeads = 8, kHeadDim = 64, kSide = 256;

at::Tensor Uniform(at::IntArrayRef shape, at::ScalarType dtype) {
  static at::Generator generator = at::detail::createCPUGenerator(1);
  return at::empty(shape).uniform_(-1, 1, generator).to(dtype);
}

// One way to compute something.
struct Way {
  std::string name;
  std::function<at::Tensor()> run;
};

bool Agree(const at::Tensor& a, const at::Tensor& b, at::ScalarType dtype) {
  const double apart = (a.to(at::kFloat) - b.to(at::kFloat)).norm().item<double>();
  return apart <= (dtype == at::kFloat ? 1e-4 : 2e-2) * b.to(at::kFloat).norm().item<double>();
}

// Ours, and Torch's, which is the reference. `macs` of 0: nothing is multiplied.
void Register(const std::string& name, at::ScalarType dtype, int64_t macs, const Way& ours,
              const Way& torchs) {
  const bool right = Agree(ours.run(), torchs.run(), dtype);
  for (const Way& way : {ours, torchs}) {
    const std::string full = name + (dtype == at::kFloat ? "/f32/" : "/bf16/") + way.name;
    benchmark::RegisterBenchmark(full.c_str(),
                                 [=](benchmark::State& state) {
                                   const c10::InferenceMode inference;
                                   if (!right) state.SkipWithError("ours and Torch's do not agree");
                                   for (auto _ : state) benchmark::DoNotOptimize(way.run());
                                   if (macs == 0) return;
                                   state.counters["FLOP/s"] = benchmark::Counter(
                                       static_cast<double>(2 * macs),
                                       benchmark::Counter::kIsIterationInvariantRate);
                                 })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
}

void RegisterLinear(at::ScalarType dtype) {
  const at::Tensor weight = Uniform({4 * kWidth, kWidth}, dtype),
                   bias = Uniform({4 * kWidth}, dtype);
  const at::Tensor rows = Uniform({kTokens, kWidth}, dtype);
  const PackedLinear packed = Pack(weight, bias);
  Register("linear 1024x384x1536", dtype, kTokens * weight.numel(),
           {"ours", [=] { return Multiply(packed, rows); }},
           {"torch", [=] { return at::linear(rows, weight, bias); }});
}

// gamma * s + beta of the kept experts, weighted and summed, with what comes before it.
void RegisterExperts(at::ScalarType dtype, int experts) {
  const at::Tensor weight = Uniform({experts, 2 * kWidth, kWidth}, dtype) * 0.05;
  const at::Tensor bias = Uniform({experts, 2 * kWidth}, dtype);
  const at::Tensor s = Uniform({kTokens, kWidth}, dtype);
  const at::Tensor gates = at::softmax(Uniform({kTokens, kKept}, at::kFloat), -1);
  const at::Tensor kept = at::randint(experts, {kTokens, kKept}, at::kLong);
  const PackedLinear halves = PackHalves(weight, bias);
  const auto ours = [=] {
    const TokenOrder order = SortTokens(kept, experts);
    const at::Tensor rows = Modulate(halves, s, gates, order);  // [R,D]
    return rows.index_select(0, order.slot.flatten()).view({kTokens, kKept, kWidth}).sum(1);
  };
  const auto torchs = [=] {
    const TokenOrder order = SortTokens(kept, experts);
    at::Tensor modulation = at::empty({kTokens * kKept, 2 * kWidth}, s.options());
    const at::Tensor rows = s.index_select(0, order.token);
    for (int e = 0; e < experts; ++e) {
      const int64_t begin = order.begin[e], count = order.begin[e + 1] - begin;
      modulation.narrow(0, begin, count)
          .copy_(at::linear(rows.narrow(0, begin, count), weight[e], bias[e]));
    }
    return ModulateAndMixReference(s, modulation, gates, order);
  };
  Register("experts E=" + std::to_string(experts) + " K=4", dtype,
           kTokens * kKept * 2 * kWidth * kWidth, {"ours", ours}, {"torch", torchs});
}

void RegisterMix(at::ScalarType dtype) {
  const at::Tensor s = Uniform({kTokens, kWidth}, dtype);
  const at::Tensor modulation = Uniform({kTokens * kKept, 2 * kWidth}, dtype);
  const at::Tensor gates = at::softmax(Uniform({kTokens, kKept}, at::kFloat), -1);
  const TokenOrder order = SortTokens(at::randint(16, {kTokens, kKept}, at::kLong), 16);
  Register("modulate and mix", dtype, kTokens * kKept * 2 * kWidth,
           {"ours", [=] { return ModulateAndMix(s, modulation, gates, order); }},
           {"torch", [=] { return ModulateAndMixReference(s, modulation, gates, order); }});
}

void RegisterAttention(at::ScalarType dtype) {
  const at::Tensor qkv = Uniform({kTokens, 3 * kHeads * kHeadDim}, dtype);
  const auto torchs = [=] {
    const at::Tensor parts = qkv.view({1, kTokens, 3, kHeads, kHeadDim}).permute({2, 0, 3, 1, 4});
    return at::scaled_dot_product_attention(parts[0], parts[1], parts[2])
        .transpose(1, 2)
        .reshape({kTokens, kHeads * kHeadDim});
  };
  Register("attention 8x1024x64", dtype, 2 * kTokens * kTokens * kHeads * kHeadDim,
           {"ours", [=] { return PackedAttention(qkv, 1, kHeads); }}, {"torch", torchs});
}

void RegisterConv(at::ScalarType dtype, int64_t channels) {
  const auto last = at::MemoryFormat::ChannelsLast;
  const at::Tensor weight = (Uniform({channels, channels, 3, 3}, dtype) * 0.05).contiguous(last);
  const at::Tensor bias = Uniform({channels}, dtype);
  const at::Tensor x = Uniform({1, channels, kSide, kSide}, dtype).contiguous(last);
  const PackedConv3x3 packed = PackConv3x3(weight, bias);
  const auto ours = [=] {
    at::Tensor y = at::empty_like(x);
    Conv3x3(packed, x, ConvEnd::kNone, y);
    return y;
  };
  Register("conv 3x3, " + std::to_string(channels) + " channels, 256x256", dtype,
           kSide * kSide * weight.numel(), {"ours", ours},
           {"torch", [=] { return at::conv2d(x, weight, bias, 1, 1); }});
}

void RegisterSort() {
  const at::Tensor kept = at::randint(128, {kTokens, kKept}, at::kLong);
  benchmark::RegisterBenchmark("sort 4096 rows by 128 experts", [=](benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(SortTokens(kept, 128));
  })->Unit(benchmark::kMillisecond);
}

void RegisterAll() {
  const c10::InferenceMode inference;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    RegisterMix(dtype);
    if (!HasCpuKernels()) continue;
    RegisterLinear(dtype);
    for (const int experts : {16, 128}) RegisterExperts(dtype, experts);
    RegisterAttention(dtype);
    for (const int64_t channels : {32, 64, 128}) RegisterConv(dtype, channels);
  }
  RegisterSort();
}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  at::set_num_threads(deweather::UsableProcessors());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  deweather::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
