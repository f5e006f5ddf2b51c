#include "training/learn.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/random_key.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "training/loss.h"

namespace deweather {
namespace {

at::ScalarType DtypeOf(const TrainOptions& options) {
  return options.precision == TrainPrecision::kBf16 ? at::kBFloat16 : at::kFloat;
}

// On the CPU the vector's own memory.
at::Tensor Pictures(const std::vector<float>& values, const TrainOptions& options,
                    at::Device device) {
  const int64_t side = options.data.crop_px;
  return at::from_blob(const_cast<float*>(values.data()), {options.batch, 3, side, side},
                       at::kFloat)
      .to(device);
}

at::Tensor Weights(const Batch& batch, at::Device device) {
  const at::Tensor weights = at::empty({std::ssize(batch.notes)}, at::kFloat);
  float* value = weights.mutable_data_ptr<float>();
  for (const CropNote& note : batch.notes) *value++ = static_cast<float>(note.loss_weight);
  return weights.to(device);
}

// What the dropout of each crop is a function of: its place in the step, whichever pass it is in.
at::Tensor Keys(uint64_t seed, const Batch& batch, at::Device device) {
  const at::Tensor keys = at::empty({std::ssize(batch.notes)}, at::kLong);
  int64_t* key = keys.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < keys.numel(); ++i) {
    key[i] = static_cast<int64_t>(CropDropoutKey(seed, batch.step, batch.first_crop + i));
  }
  return keys.to(device);
}

// Each crop's gate among `tasks`; undefined where there are none.
at::Tensor GatesOf(const std::vector<std::string>& tasks, const Batch& batch, at::Device device) {
  if (tasks.empty()) return {};
  const at::Tensor gates = at::empty({std::ssize(batch.notes)}, at::kLong);
  int64_t* gate = gates.mutable_data_ptr<int64_t>();
  for (const CropNote& note : batch.notes) {
    *gate++ = std::find(tasks.begin(), tasks.end(), note.gate) - tasks.begin();
  }
  return gates.to(device);
}

PassOptions PassOf(const TrainOptions& options, const Batch& batch, at::Device device) {
  PassOptions pass{.tasks = GatesOf(options.model.tasks, batch, device)};
  pass.calibrate = options.model.calibration != Calibration::kNone;
  if (pass.calibrate || options.uncertainty_weight > 0) {
    pass.keys = Keys(options.seed, batch, device);
  }
  return pass;
}

at::Tensor CropLosses(const TrainOptions& options, const at::Tensor& restored,
                      const at::Tensor& truth) {
  const at::Tensor losses = TaskLoss(options.loss, restored, truth);  // [B]
  if (options.frequency_weight <= 0) return losses;
  return losses + options.frequency_weight * FrequencyLoss(restored, truth);
}

// As the teacher restores when it serves: one pass, no dropout, no value that a picture cannot have.
at::Tensor PicturesOf(const Network& teacher, const at::Tensor& input, const Batch& batch) {
  const at::NoGradGuard no_grad;
  return Forward(teacher, input, {.tasks = GatesOf(teacher.config.tasks, batch, input.device())})
      .pictures.clamp(0, 1);
}

// KeptCounts over all ranks. The gradient of BalanceLoss flows through P alone, a mean over this rank's
// tokens: with f of all ranks, the mean over ranks of their gradients is that of E sum_i f_i P_i with the P of
// all tokens, the loss of one rank that sees them all. The paper's form, L_uc and the crops' parts are means
// over tokens or crops, so that their gradients' mean is right as it is.
std::vector<at::Tensor> CountsOf(const std::vector<Gates>& gates, Ranks& ranks) {
  std::vector<at::Tensor> counts = KeptCounts(gates);
  if (counts.empty() || ranks.count() == 1) return counts;
  const at::Tensor sum = ranks.Sum(at::cat(counts));
  int64_t begin = 0;
  for (at::Tensor& layer : counts) {
    layer = sum.narrow(0, begin, layer.numel());
    begin += layer.numel();
  }
  return counts;
}

// The loss and its terms while all are still where they are computed.
struct Terms {
  at::Tensor total, weighted, crop_losses;
  // 0 where they are no part of the loss.
  at::Tensor balance = at::zeros({}, at::kFloat);
  at::Tensor uncertainty = at::zeros({}, at::kFloat);
  at::Tensor distill = at::zeros({}, at::kFloat);
};

// In one copy: on a GPU each is a wait.
PassLoss ValuesOf(const Terms& terms) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& term :
       {terms.total, terms.weighted, terms.balance, terms.uncertainty, terms.distill}) {
    all.push_back(term.detach().reshape({1}).to(terms.crop_losses.device()));
  }
  all.push_back(terms.crop_losses.detach());
  const at::Tensor values = at::cat(all).to(at::kCPU, at::kDouble).contiguous();
  const double* value = values.const_data_ptr<double>();
  return {.total = value[0],
          .weighted = value[1],
          .balance = value[2],
          .uncertainty = value[3],
          .distill = value[4],
          .crop_losses = {value + 5, value + values.numel()}};
}

absl::Status CheckTeacher(const ModelConfig& teacher, const DataOptions& data) {
  if (data.crop_px % teacher.patch != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "data.crop_px is %d; it must be a multiple of the patch of distill.teacher, %d",
        data.crop_px, teacher.patch));
  }
  if (teacher.tasks.empty()) return absl::OkStatus();
  for (const std::string& task : SourceTasks(data)) {
    if (std::find(teacher.tasks.begin(), teacher.tasks.end(), task) != teacher.tasks.end())
      continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "distill.teacher has no gate for the task '%s' of the data; its tasks are %s", task,
        absl::StrJoin(teacher.tasks, ", ")));
  }
  return absl::OkStatus();
}

Terms TermsOf(const TrainOptions& options, const Batch& batch, const TrainState& state,
              const Network* teacher, Ranks& ranks) {
  const at::Device device = state.weights.begin()->second.device();
  const Network network =
      BindNetwork(options.model, CastParameters(state.weights, DtypeOf(options)));
  const at::Tensor input = Pictures(batch.input, options, device);
  const at::Tensor truth = Pictures(batch.truth, options, device);
  const at::Tensor weights = Weights(batch, device);  // [B]
  const NetworkOutput output = Forward(network, input, PassOf(options, batch, device));
  Terms terms;
  terms.crop_losses = CropLosses(options, output.pictures, truth);  // [B]
  terms.weighted = (weights * terms.crop_losses).mean();
  terms.balance = BalanceLoss(options.balance, output.gates, CountsOf(output.gates, ranks));
  terms.total = terms.weighted + options.balance_weight * terms.balance;
  if (options.uncertainty_weight > 0) {
    terms.uncertainty = UncertaintyLoss(output.gates);
    terms.total = terms.total + options.uncertainty_weight * terms.uncertainty;
  }
  if (teacher != nullptr) {
    const at::Tensor apart =
        TaskLoss(options.loss, output.pictures, PicturesOf(*teacher, input, batch));  // [B]
    terms.distill = (weights * apart).mean();
    terms.total = terms.total + options.distill.weight * terms.distill;
  }
  return terms;
}

}  // namespace

absl::StatusOr<std::optional<Teacher>> LoadTeacher(const TrainOptions& options, at::Device device) {
  if (options.distill.teacher.empty() || options.distill.weight == 0) return std::nullopt;
  const absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(options.distill.teacher);
  if (!checkpoint.ok()) {
    return absl::Status(checkpoint.status().code(),
                        absl::StrCat("distill.teacher: ", checkpoint.status().message()));
  }
  DW_RETURN_IF_ERROR(CheckTeacher(checkpoint->config, options.data));
  Parameters weights = CastParameters(checkpoint->parameters, DtypeOf(options));
  for (auto& [name, tensor] : weights) tensor = tensor.to(device);
  return Teacher{BindNetwork(checkpoint->config, weights), checkpoint->version};
}

PassLoss LearnFrom(const TrainOptions& options, const Batch& batch, TrainState& state,
                   const Network* teacher, Ranks* given) {
  Ranks alone;
  Ranks& ranks = given != nullptr ? *given : alone;
  const Terms terms = TermsOf(options, batch, state, teacher, ranks);
  PassLoss loss = ValuesOf(terms);
  // One rank's that is not finite makes everybody's so: all leave out the same step.
  ranks.Average({&loss.total, &loss.weighted, &loss.balance, &loss.uncertainty, &loss.distill});
  if (!std::isfinite(loss.total)) return loss;
  const at::Tensor share = terms.total / options.accumulate;
  if (batch.last) ranks.AverageNext(share);
  share.backward();
  return loss;
}

}  // namespace deweather
