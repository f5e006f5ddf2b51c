#include "model/recorded_passes.h"

#include <ATen/TensorOperators.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/host_tensor.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

// Largest difference of a value. NaN is above every bound that it is held against with <=.
double MostApart(const at::Tensor& found, const at::Tensor& wanted) {
  return (found - wanted).abs().max().item<double>();
}

// Which share of the sum of `wanted` the two differ by; their terms are not negative.
double ShareApart(const at::Tensor& found, const at::Tensor& wanted) {
  if (wanted.numel() == 0) return 0;
  const double apart = (found - wanted).to(at::kDouble).abs().sum().item<double>();
  return apart == 0 ? 0 : apart / wanted.to(at::kDouble).sum().item<double>();
}

absl::Status Check(const char* what, double apart, double tolerance) {
  if (apart <= tolerance) return absl::OkStatus();
  return absl::InternalError(absl::StrFormat(
      "a replay's %s differ by %.2g from what was computed; at most %.2g", what, apart, tolerance));
}

bool SameShapes(const Restored& found, const Restored& wanted) {
  return found.tiles.sizes() == wanted.tiles.sizes() &&
         found.tokens.sizes() == wanted.tokens.sizes() &&
         found.gate.sizes() == wanted.gate.sizes() &&
         found.entropy.sizes() == wanted.entropy.sizes() &&
         found.expert_map.defined() == wanted.expert_map.defined();
}

// All of both is on the CPU.
absl::Status Compare(const Restored& found, const Restored& wanted, double tolerance) {
  if (!SameShapes(found, wanted)) {
    return absl::InternalError("a replay gives other shapes than were computed");
  }
  DW_RETURN_IF_ERROR(Check("pixels", MostApart(found.tiles, wanted.tiles), tolerance));
  DW_RETURN_IF_ERROR(Check("tokens", ShareApart(found.tokens, wanted.tokens), tolerance));
  DW_RETURN_IF_ERROR(Check("gates", ShareApart(found.gate, wanted.gate), tolerance));
  DW_RETURN_IF_ERROR(Check("entropies", ShareApart(found.entropy, wanted.entropy), tolerance));
  if (!wanted.expert_map.defined()) return absl::OkStatus();
  const at::Tensor same = found.expert_map == wanted.expert_map;
  return Check("experts of the map", 1 - same.to(at::kDouble).mean().item<double>(), tolerance);
}

}  // namespace

RecordedPasses::RecordedPasses(RecordPass record, double tolerance)
    : record_(std::move(record)), tolerance_(tolerance) {}

absl::Status RecordedPasses::Add(const ComputePass& compute, const at::Tensor& tiles) {
  if (!can_record()) return absl::FailedPreconditionError("nothing here records passes");
  if (Find(tiles.sizes()) != nullptr) return absl::OkStatus();
  return CatchTorch("a pass cannot be recorded", [&]() -> absl::Status {
    ComputePass replay = record_(compute, tiles);
    // The tiles of the recording come last: what never reads its tiles would pass with them alone.
    for (const at::Tensor& input : {1 - tiles, tiles}) {
      const Restored wanted = CopyToHost(compute(input));
      DW_RETURN_IF_ERROR(Compare(CopyToHost(replay(input)), wanted, tolerance_));
    }
    replays_[tiles.sizes().vec()] = std::move(replay);
    return absl::OkStatus();
  });
}

const ComputePass* RecordedPasses::Find(at::IntArrayRef shape) const {
  if (replays_.empty()) return nullptr;
  const auto found = replays_.find(shape.vec());
  return found == replays_.end() ? nullptr : &found->second;
}

}  // namespace deweather
