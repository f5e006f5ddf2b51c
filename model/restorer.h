// A restoration model as the rest of the system sees it: what it wants, and a function.
// Nothing outside model/ knows more about a network than this.

#ifndef DEWEATHER_MODEL_RESTORER_H_
#define DEWEATHER_MODEL_RESTORER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "model/base/tile_spec.h"

namespace deweather {

// What is routed to experts, and so what `Restored::tokens` counts.
enum class RoutingUnit { kToken, kImage };

struct RoutingSpec {
  RoutingUnit unit = RoutingUnit::kToken;
  int layers = 0;                          // layers with a router; 0: nothing is routed
  int experts = 0;                         // E, of the largest layer where they differ
  int kept = 0;                            // K of the E experts work on each unit
  std::vector<int> experts_by_layer = {};  // where they differ; empty: `experts` in each
};

struct RestorerSpec {
  std::string name;     // of the network, e.g. "deweather-rain"
  std::string version;  // first 12 hex digits of the SHA-256 over the checkpoint, or "builtin"
  TileSpec tile;
  RoutingSpec routing;
  std::string device = {};              // that it computes on, as "cpu" or "cuda:0"
  std::string precision = {};           // that it computes in, "f32" or "bf16"
  std::vector<std::string> tasks = {};  // that have a gate of their own; empty: one gate for all
};

struct ForwardOptions {
  bool expert_map = false;   // fill Restored::expert_map
  bool uncertainty = false;  // fill Restored::uncertainty; changes nothing else
  bool calibrated = false;   // gates of M passes, after the network's calibration; for measuring it
  std::vector<uint64_t> keys = {};  // [B], for either: what a tile's passes are a function of
  std::vector<int> tasks = {};      // [B], into spec.tasks; empty if that is
};

// Everything that `forward` returns is on the CPU. L layers, E experts, p the patch side.
struct Restored {
  at::Tensor tiles;    // [B,3,H,W] f32 in [0,1]
  at::Tensor tokens;   // [B,L,E] i64: units that kept each expert; sums to units * K per layer
  at::Tensor gate;     // [B,L,E] f64: sum of the gate weights of the kept experts
  at::Tensor entropy;  // [B,L] f64: mean over units of the router's entropy over all E, / ln E
  // [B,H/p,W/p] u8: each token's heaviest expert, last layer; or undefined. Where Eq. 7 calibrates: that of
  // the pass without dropout, whatever it then weighs.
  at::Tensor expert_map;
  // [B,L,H/p,W/p] f32: sum over a token's kept experts (of the pass without dropout) of the standard
  // deviation of their probabilities over M passes [Eq. 10]; or undefined
  at::Tensor uncertainty;
};

// Shapes   tiles [B,3,H,W] f32 in [0,1], NCHW-contiguous; H and W multiples of spec.tile.multiple_px
// Threads  `forward` is thread-compatible: one executor calls it
// Errors   INVALID_ARGUMENT wrong shape, a task or key that is missing or unknown; FAILED_PRECONDITION
//          uncertainty of a network that routes nothing; INTERNAL Torch failed; RESOURCE_EXHAUSTED out of
//          memory. Never throws. Finite output is the caller's to check, tile by tile.
// Company  In f32 on a CPU what a tile becomes has the same bits in any batch, of networks whose `channels`
//          are a multiple of 16 (measured at 16: tests/model/invariance_test.cc). Of fewer libraries choose
//          other convolutions for other batches: 3 -> 8 channels differ in last bits.
struct Restorer {
  RestorerSpec spec;
  std::function<absl::StatusOr<Restored>(const at::Tensor& tiles, const ForwardOptions& options)>
      forward;
  // Readies `forward` for batches of the shape of `tiles`, without uncertainty: on a GPU the pass is recorded once
  // and then replayed. An error, but for a broken device, changes nothing: such batches are computed as others
  // are. To be called as `forward` is. Null where there is nothing to ready.
  std::function<absl::Status(const at::Tensor& tiles)> record = {};
};

struct Checkpoint;

// Reads, checks and readies a checkpoint (model/checkpoint.h).
// Errors: NOT_FOUND no such file; DATA_LOSS or INVALID_ARGUMENT a broken one; never throws.
absl::StatusOr<Restorer> LoadRestorer(const std::string& path, const LoadOptions& options);

// The same of a checkpoint in memory, whose weights are copied.
absl::StatusOr<Restorer> MakeRestorer(const Checkpoint& checkpoint, const LoadOptions& options);

// Returns what it is given; nothing is routed. For tests and for measuring the server alone.
Restorer IdentityRestorer(const TileSpec& tile);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_RESTORER_H_
