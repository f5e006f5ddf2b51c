#include "model/fuse.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "model/parameters.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

using testing::HasSubstr;

// No norm is the identity.
Checkpoint RandomTeacher(const ModelConfig& config) {
  at::Generator generator = at::detail::createCPUGenerator(4);
  Checkpoint teacher{config, InitialParameters(config, 3), {}, {}};
  for (auto& [name, tensor] : teacher.parameters) {
    tensor += 0.2 * at::empty(tensor.sizes()).uniform_(-1, 1, generator);
  }
  return teacher;
}

ModelConfig DenseStudentOf(const ModelConfig& teacher) {
  ModelConfig student = teacher;
  student.name = "student";
  student.kind = ExpertKind::kDense;
  student.experts = student.kept = 0;
  student.experts_by_block.clear();
  student.tasks.clear();
  return student;
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// The gates' weights sum to 1: what all experts say, the fused one says, however many are kept.
TEST(FuseTest, ParityWithATeacherOfEqualExperts) {
  const at::NoGradGuard no_grad;
  ModelConfig config = TinyConfig(ExpertKind::kFfn);
  config.tasks = {"rain", "snow"};
  for (const std::vector<int>& experts : {std::vector<int>{}, {4, 2}}) {
    config.experts_by_block = experts;
    for (config.kept = 1; config.kept <= config.experts_of(1); ++config.kept) {
      const Checkpoint teacher = RandomTeacher(config);
      for (auto& [name, tensor] : teacher.parameters) {
        if (name.find(".experts.") != std::string::npos) tensor.copy_(tensor[0].clone());
      }
      const ModelConfig student = DenseStudentOf(config);
      const absl::StatusOr<Parameters> fused = FuseExperts(teacher, student);
      ASSERT_TRUE(fused.ok()) << fused.status();
      const at::Tensor pictures =
          at::empty({2, 3, 16, 24}).uniform_(0, 1, at::detail::createCPUGenerator(5));
      const at::Tensor tasks = at::tensor(std::vector<int64_t>{1, 0});
      const at::Tensor taught =
          Forward(BindNetwork(config, teacher.parameters), pictures, {.tasks = tasks}).pictures;
      const at::Tensor learned = Forward(BindNetwork(student, *fused), pictures).pictures;
      EXPECT_LE(MaxDifference(taught, learned), 1e-5) << "K = " << config.kept;
    }
  }
}

// A tensor of the student against what the header says of it, expert by expert.
void ExpectFused(const Parameters& teacher, const std::string& name, const at::Tensor& fused) {
  for (const auto& [own, theirs] :
       {std::pair<std::string, std::string>{".ffn_norm.", ".experts.norm."},
        {".ffn.", ".experts."}}) {
    const size_t at = name.find(own);
    if (at == std::string::npos) continue;
    const at::Tensor stack = teacher.at(std::string(name).replace(at, own.size(), theirs));
    at::Tensor sum = at::zeros_like(fused, at::kDouble);
    for (int64_t e = 0; e < stack.size(0); ++e) sum += stack[e];
    EXPECT_LE(MaxDifference(fused, sum / static_cast<double>(stack.size(0))), 1e-6) << name;
    return;
  }
  EXPECT_TRUE(at::equal(fused, teacher.at(name))) << name;
}

TEST(FuseTest, ExpertsAreAveragedAndAllElseIsCopied) {
  ModelConfig config = TinyConfig(ExpertKind::kFfn);
  config.experts_by_block = {2, 4};
  const Checkpoint teacher = RandomTeacher(config);
  const ModelConfig student = DenseStudentOf(config);
  const Parameters fused = FuseExperts(teacher, student).value();
  const std::vector<ParameterSpec> specs = ListParameters(student);
  EXPECT_EQ(fused.size(), specs.size());
  for (const ParameterSpec& spec : specs) {
    ASSERT_EQ(fused.at(spec.name).sizes(), at::IntArrayRef(spec.shape)) << spec.name;
    ExpectFused(teacher.parameters, spec.name, fused.at(spec.name));
  }
}

// A student of other name, tiles and calibration, and one of a dense teacher.
TEST(FuseTest, StudentOfTheTeachersOwnNetworkHasItsWeights) {
  for (const ExpertKind kind : {ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme}) {
    const Checkpoint teacher = RandomTeacher(TinyConfig(kind));
    ModelConfig student = teacher.config;
    student.name = "student";
    student.tile_px = 64;
    student.router_passes = 9;
    const absl::StatusOr<Parameters> weights = FuseExperts(teacher, student);
    ASSERT_TRUE(weights.ok()) << weights.status();
    ASSERT_EQ(weights->size(), teacher.parameters.size());
    for (const auto& [name, tensor] : teacher.parameters) {
      EXPECT_TRUE(at::equal(weights->at(name), tensor)) << name;
    }
  }
}

// The teacher goes on beside a student that learns.
TEST(FuseTest, StudentSharesNothingWithItsTeacher) {
  const Checkpoint teacher = RandomTeacher(TinyConfig(ExpertKind::kFfn));
  Parameters student = FuseExperts(teacher, DenseStudentOf(teacher.config)).value();
  for (auto& [name, tensor] : student) tensor.zero_();
  for (const auto& [name, tensor] : teacher.parameters) {
    EXPECT_GT(tensor.abs().max().item<double>(), 0) << name;
  }
}

struct Refusal {
  ExpertKind teacher;
  void (*change_teacher)(ModelConfig&);
  bool dense;  // the student, before it is changed too
  void (*change_student)(ModelConfig&);
  const char* message;
};

void Nothing(ModelConfig&) {}

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.message; }

class RefusedStudentTest : public testing::TestWithParam<Refusal> {};
INSTANTIATE_TEST_SUITE_P(
    FuseTest, RefusedStudentTest,
    testing::Values(
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.embed_dim = 24; },
                "model.embed_dim is '24' and the teacher's '16'"},
        Refusal{ExpertKind::kDense, Nothing, true, [](ModelConfig& c) { c.depth = 3; },
                "model.depth is '3' and the teacher's '2'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.heads = 4; },
                "model.heads is '4' and the teacher's '2'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.head_dim = 4; },
                "model.head_dim is '4' and the teacher's '8'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.patch = 4; },
                "model.patch is '4' and the teacher's '8'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.channels = 8; },
                "model.channels is '8' and the teacher's '4'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.tail_scale = 4; },
                "model.tail_scale is '4' and the teacher's '2'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.mlp_ratio = 2; },
                "model.mlp_ratio is '2' and the teacher's '4'"},
        Refusal{ExpertKind::kFfn, Nothing, true, [](ModelConfig& c) { c.residual = true; },
                "model.residual is 'true' and the teacher's 'false'"},
        Refusal{ExpertKind::kFfn, Nothing, false, [](ModelConfig& c) { c.experts = 8; },
                "model.experts is '8,8' and the teacher's '4,4'"},
        Refusal{ExpertKind::kFfn, Nothing, false, [](ModelConfig& c) { c.kept = 1; },
                "model.kept is '1' and the teacher's '2'"},
        Refusal{ExpertKind::kFfn, Nothing, false, [](ModelConfig& c) { c.tasks = {"rain"}; },
                "model.tasks is 'rain' and the teacher's ''"},
        Refusal{ExpertKind::kFfn, Nothing, false, [](ModelConfig& c) { c.residual_ffn = true; },
                "model.residual_ffn is 'true' and the teacher's 'false'"},
        Refusal{ExpertKind::kFme, Nothing, false, [](ModelConfig& c) { c.gate = Gate::kPaper; },
                "model.gate is 'paper' and the teacher's 'released'"},
        Refusal{ExpertKind::kFme, Nothing, false, [](ModelConfig& c) { c.stem = Stem::kNone; },
                "model.stem is 'none' and the teacher's 'star'"},
        Refusal{ExpertKind::kFme, Nothing, true, Nothing, "the teacher's model.kind is fme"},
        Refusal{ExpertKind::kFfn, [](ModelConfig& c) { c.residual_ffn = true; }, true, Nothing,
                "the teacher's model.residual_ffn is true"}));

TEST_P(RefusedStudentTest, IsToldWhy) {
  ModelConfig config = TinyConfig(GetParam().teacher);
  GetParam().change_teacher(config);
  ModelConfig student = GetParam().dense ? DenseStudentOf(config) : config;
  GetParam().change_student(student);
  const Checkpoint teacher{config, {}, {}, {}};
  const absl::Status status = FuseExperts(teacher, student).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

}  // namespace
}  // namespace deweather
