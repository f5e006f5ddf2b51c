#include "model/fuse.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "model/base/status_macros.h"
#include "model/parameters.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

using Fields = std::vector<std::pair<std::string_view, std::string>>;

// What the two must have in common whatever their experts are.
Fields AroundExperts(const ModelConfig& config) {
  return {{"embed_dim", absl::StrCat(config.embed_dim)},
          {"depth", absl::StrCat(config.depth)},
          {"heads", absl::StrCat(config.heads)},
          {"head_dim", absl::StrCat(config.head_dim)},
          {"patch", absl::StrCat(config.patch)},
          {"channels", absl::StrCat(config.channels)},
          {"tail_scale", absl::StrCat(config.tail_scale)},
          {"mlp_ratio", absl::StrCat(config.mlp_ratio)},
          {"residual", config.residual ? "true" : "false"}};
}

Fields Experts(const ModelConfig& config) {
  std::vector<int> experts;
  for (int block = 0; block < config.depth; ++block) experts.push_back(config.experts_of(block));
  return {{"kind", std::string(Name(config.kind))},
          {"experts", absl::StrJoin(experts, ",")},
          {"kept", absl::StrCat(config.kept)},
          {"stem", std::string(Name(config.stem))},
          {"first_expert", std::string(Name(config.first_expert))},
          {"gate", std::string(Name(config.gate))},
          {"residual_ffn", config.residual_ffn ? "true" : "false"},
          {"tasks", absl::StrJoin(config.tasks, ",")}};
}

Fields AllFields(const ModelConfig& config) {
  Fields fields = AroundExperts(config), experts = Experts(config);
  std::move(experts.begin(), experts.end(), std::back_inserter(fields));
  return fields;
}

// Names the first field that differs.
absl::Status OtherNetwork(const Fields& student, const Fields& teacher) {
  constexpr std::string_view kWanted =
      "a student starts from the teacher's own network, or is dense and differs in nothing else";
  for (size_t i = 0; i < student.size(); ++i) {
    if (student[i].second == teacher[i].second) continue;
    return absl::InvalidArgumentError(absl::StrFormat("model.%s is '%s' and the teacher's '%s'; %s",
                                                      student[i].first, student[i].second,
                                                      teacher[i].second, kWanted));
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("the student's network is not the teacher's; %s", kWanted));
}

absl::Status CheckFusible(const ModelConfig& teacher) {
  if (teacher.kind != ExpertKind::kFfn) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the teacher's model.kind is %s, whose experts have no feed-forward network each; a dense "
        "student starts from ffn experts",
        Name(teacher.kind)));
  }
  if (!teacher.residual_ffn) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the teacher's model.residual_ffn is true: what its blocks add is the sum of two "
      "feed-forward "
      "networks, and a dense student has one");
}

ModelConfig WithExpertsOf(const ModelConfig& experts, ModelConfig config) {
  config.kind = experts.kind;
  config.experts = experts.experts;
  config.kept = experts.kept;
  config.stem = experts.stem;
  config.first_expert = experts.first_expert;
  config.gate = experts.gate;
  config.experts_by_block = experts.experts_by_block;
  config.residual_ffn = experts.residual_ffn;
  config.tasks = experts.tasks;
  return config;
}

absl::Status CheckPair(const ModelConfig& teacher, const ModelConfig& student) {
  if (SameNetwork(student, teacher)) return absl::OkStatus();
  if (student.routed()) return OtherNetwork(AllFields(student), AllFields(teacher));
  if (!SameNetwork(student, WithExpertsOf(student, teacher))) {
    return OtherNetwork(AroundExperts(student), AroundExperts(teacher));
  }
  return teacher.routed() ? CheckFusible(teacher) : absl::OkStatus();
}

// The mean of the experts that `name` of a dense network stands for.
at::Tensor Fuse(const Parameters& teacher, const std::string& name) {
  const std::string experts =
      absl::StrReplaceAll(name, {{".ffn_norm.", ".experts.norm."}, {".ffn.", ".experts."}});
  return teacher.at(experts).mean(0);
}

absl::StatusOr<Parameters> Fuse(const Parameters& teacher, const ModelConfig& student) {
  Parameters parameters;
  for (const ParameterSpec& spec : ListParameters(student)) {
    const auto same = teacher.find(spec.name);
    parameters[spec.name] = same == teacher.end() ? Fuse(teacher, spec.name) : same->second.clone();
  }
  return parameters;
}

}  // namespace

absl::StatusOr<Parameters> FuseExperts(const Checkpoint& teacher, const ModelConfig& student) {
  DW_RETURN_IF_ERROR(CheckPair(teacher.config, student));
  return CatchTorch("cannot fuse the experts", [&] { return Fuse(teacher.parameters, student); });
}

}  // namespace deweather
