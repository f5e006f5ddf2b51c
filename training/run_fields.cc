#include "training/run_fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace deweather {
namespace {

using Fields = std::map<std::string, std::string>;

constexpr std::array<std::string_view, 7> kMayChange = {
    "data.pictures", "distill.teacher", "init_from", "max_time", "ranks", "steps", "threads"};
constexpr std::array<std::string_view, 3> kOfOneMachine = {"distill.teacher", "init_from",
                                                           "threads"};

constexpr char kTeacherVersion[] = "distill.teacher_version";

// The shortest text that reads back as the same number.
template <typename T>
requires std::integral<T> || std::floating_point<T> std::string Text(T value) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

std::string Text(bool value) { return value ? "true" : "false"; }
std::string Text(absl::Duration value) { return absl::FormatDuration(value); }
std::string Text(const std::string& value) { return absl::CHexEscape(value); }  // any path is UTF-8
std::string Text(std::string_view value) { return std::string(value); }
std::string Text(TrainPrecision value) { return value == TrainPrecision::kBf16 ? "bf16" : "f32"; }
std::string Text(LossKind value) {
  switch (value) {
    case LossKind::kSmoothL1:
      return "smooth_l1";
    case LossKind::kL1:
      return "l1";
    case LossKind::kCharbonnier:
      return "charbonnier";
    case LossKind::kLogMse:
      return "log_mse";
  }
  return "";  // unreachable
}

std::string Text(BalanceKind value) { return value == BalanceKind::kPaper ? "paper" : "gshard"; }

void DescribeModel(const ModelConfig& model, Fields& fields) {
  fields["model.kind"] = Text(Name(model.kind));
  fields["model.embed_dim"] = Text(model.embed_dim);
  fields["model.depth"] = Text(model.depth);
  fields["model.heads"] = Text(model.heads);
  fields["model.head_dim"] = Text(model.head_dim);
  fields["model.patch"] = Text(model.patch);
  fields["model.channels"] = Text(model.channels);
  fields["model.tail_scale"] = Text(model.tail_scale);
  fields["model.mlp_ratio"] = Text(model.mlp_ratio);
  fields["model.experts"] = Text(model.experts);
  fields["model.kept"] = Text(model.kept);
  fields["model.stem"] = Text(Name(model.stem));
  fields["model.first_expert"] = Text(Name(model.first_expert));
  fields["model.gate"] = Text(Name(model.gate));
  fields["model.residual"] = Text(model.residual);
  fields["model.tile_px"] = Text(model.tile_px);
  fields["model.overlap_px"] = Text(model.overlap_px);
}

void DescribeData(const DataOptions& data, Fields& fields) {
  for (size_t i = 0; i < data.pairs.size(); ++i) {
    const std::string at = absl::StrFormat("data.pairs[%d].", i);
    fields[at + "input_dir"] = Text(data.pairs[i].input_dir);
    fields[at + "truth_dir"] = Text(data.pairs[i].truth_dir);
    fields[at + "weight"] = Text(data.pairs[i].weight);
    fields[at + "loss_weight"] = Text(data.pairs[i].loss_weight);
  }
  for (size_t i = 0; i < data.clean.size(); ++i) {
    const std::string at = absl::StrFormat("data.clean[%d].", i);
    fields[at + "dir"] = Text(data.clean[i].dir);
    fields[at + "weight"] = Text(data.clean[i].weight);
    fields[at + "loss_weight"] = Text(data.clean[i].loss_weight);
    fields[at + "weather"] = Text(data.clean[i].weather);
    fields[at + "untouched_share"] = Text(data.clean[i].untouched_share);
  }
  fields["data.crop_px"] = Text(data.crop_px);
  fields["data.augment"] = Text(data.augment);
}

void DescribeOptimizer(const OptimizerOptions& optimizer, Fields& fields) {
  fields["optimizer.learning_rate"] = Text(optimizer.learning_rate);
  fields["optimizer.min_learning_rate"] = Text(optimizer.min_learning_rate);
  fields["optimizer.warmup_steps"] = Text(optimizer.warmup_steps);
  fields["optimizer.weight_decay"] = Text(optimizer.weight_decay);
  fields["optimizer.beta1"] = Text(optimizer.beta1);
  fields["optimizer.beta2"] = Text(optimizer.beta2);
  fields["optimizer.clip_norm"] = Text(optimizer.clip_norm);
}

// What came later: a checkpoint from before is of a run that had the defaults.
Fields DescribeLater(const TrainOptions& options) {
  const ModelConfig& model = options.model;
  return {{"model.experts_by_block", absl::StrJoin(model.experts_by_block, ",")},
          {"model.residual_ffn", Text(model.residual_ffn)},
          {"model.tasks", absl::StrJoin(model.tasks, ",")},
          {"model.calibration", Text(Name(model.calibration))},
          {"model.router_passes", Text(model.router_passes)},
          {"model.router_dropout", Text(model.router_dropout)},
          {"balance", Text(options.balance)},
          {"uncertainty_weight", Text(options.uncertainty_weight)},
          {"distill.teacher", Text(options.distill.teacher)},
          {"distill.weight", Text(options.distill.weight)}};
}

Fields LaterDefaults() {
  const TrainOptions defaults;
  return DescribeLater(defaults);
}

// With gates of tasks, which of them learns from what.
void DescribeGates(const TrainOptions& options, Fields& fields) {
  for (size_t i = 0; i < options.data.pairs.size(); ++i) {
    fields[absl::StrFormat("data.pairs[%d].task", i)] = Text(options.data.pairs[i].task);
  }
}

// A folder may have been moved: data.pictures tells whether it holds the same.
bool IsFolder(std::string_view field) {
  return field.starts_with("data.") && (field.ends_with(".dir") || field.ends_with("_dir"));
}

bool MayChange(std::string_view field) {
  return IsFolder(field) ||
         std::find(kMayChange.begin(), kMayChange.end(), field) != kMayChange.end();
}

std::string ValueIn(const Fields& fields, const Fields& defaults, const std::string& name) {
  for (const Fields* source : {&fields, &defaults}) {
    const auto found = source->find(name);
    if (found != source->end()) return absl::StrCat("'", found->second, "'");
  }
  return "absent";
}

std::string Difference(const std::string& field, const std::string& was, const std::string& is) {
  if (field == "data.pictures") return "the pictures in the folders of data have changed";
  return absl::StrCat(field, " was ", was, " and is now ", is);
}

}  // namespace

std::map<std::string, std::string> DescribeRun(const TrainOptions& options,
                                               const TeacherNote& teacher) {
  Fields fields;
  fields["name"] = Text(options.name);
  DescribeModel(options.model, fields);
  DescribeData(options.data, fields);
  DescribeOptimizer(options.optimizer, fields);
  fields["batch"] = Text(options.batch);
  fields["accumulate"] = Text(options.accumulate);
  fields["steps"] = Text(options.steps);
  fields["max_time"] = Text(options.max_time);
  fields["loss"] = Text(options.loss);
  fields["frequency_weight"] = Text(options.frequency_weight);
  fields["balance_weight"] = Text(options.balance_weight);
  fields["ema_decay"] = Text(options.ema_decay);
  fields["precision"] = Text(options.precision);
  fields["seed"] = Text(options.seed);
  fields["threads"] = Text(options.threads);
  fields["init_from"] = Text(options.init_from);
  if (!options.model.tasks.empty() || teacher.has_tasks) DescribeGates(options, fields);
  if (!teacher.version.empty()) fields[kTeacherVersion] = teacher.version;
  const Fields defaults = LaterDefaults();
  for (const auto& [name, value] : DescribeLater(options)) {
    if (value != defaults.at(name)) fields[name] = value;
  }
  return fields;
}

Fields AlikeOnRanks(const TrainOptions& options, const std::string& device_kind, Fields run) {
  std::erase_if(run, [](const auto& field) {
    const auto& name = field.first;
    return IsFolder(name) ||
           std::find(kOfOneMachine.begin(), kOfOneMachine.end(), name) != kOfOneMachine.end();
  });
  run["device"] = device_kind;
  run["log_every_steps"] = Text(options.log_every_steps);
  run["checkpoint_every_steps"] = Text(options.checkpoint_every_steps);
  run["max_bad_steps"] = Text(options.max_bad_steps);
  run["rank_timeout"] = Text(options.rank_timeout);
  run["evaluate.every_steps"] = Text(options.evaluate.every_steps);
  run["evaluate.patience"] = Text(options.evaluate.patience);
  run["evaluate.pairs_dir"] = Text(!options.evaluate.pairs_dirs.empty());
  return run;
}

absl::StatusOr<std::vector<std::string>> CompareRuns(const Fields& before, const Fields& now) {
  std::vector<std::string> allowed, refused;
  Fields names = before;
  names.insert(now.begin(), now.end());
  Fields defaults = LaterDefaults();
  defaults["ranks"] = "1";
  defaults[kTeacherVersion] = "none";
  for (const auto& [name, value] : names) {
    const std::string was = ValueIn(before, defaults, name), is = ValueIn(now, defaults, name);
    if (was == is) continue;
    (MayChange(name) ? allowed : refused).push_back(Difference(name, was, is));
  }
  if (refused.empty()) return allowed;
  return absl::FailedPreconditionError(absl::StrJoin(refused, "; "));
}

}  // namespace deweather
