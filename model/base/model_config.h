// What a MoFME network is made of (arXiv 2312.16610; sizes and names of its Section 4).

#ifndef DEWEATHER_MODEL_BASE_MODEL_CONFIG_H_
#define DEWEATHER_MODEL_BASE_MODEL_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/tile_spec.h"

namespace deweather {

enum class ExpertKind {
  kDense,  // one feed-forward network, no router
  kFfn,    // conventional experts, Eq. 1-3
  kFme,    // feature-modulated experts, Eq. 4-6
};

enum class Stem {
  kStar,  // s = GELU(A z) * (B z), as the authors released it
  kNone,  // s = z, Eq. 6 to the letter
};

enum class FirstExpert {
  kModulate,  // all E experts modulate, as the paper says
  kGelu,      // expert 0 is GELU(s) without parameters, as the authors released it
};

enum class Gate {
  kReleased,  // keep the K largest logits, softmax over the kept ones
  kPaper,     // Eq. 1: softmax over all E, keep the K largest, not renormalised
};

// What becomes of the gates in training, of M passes of the router with dropout (Eq. 7); router.h.
enum class Calibration {
  kNone,        // nothing: one pass without dropout
  kPaper,       // Eq. 7 as printed; with K = 1 +1 or -1
  kConfidence,  // what the router is sure of weighs more; with K = 1 always 1, whatever the router says
};

inline constexpr int kMaxExperts = 256;  // an expert map holds bytes

// Defaults are the paper's size with E = 16, K = 4.
struct ModelConfig {
  std::string name = "mofme";
  ExpertKind kind = ExpertKind::kFme;
  int embed_dim = 384;  // D
  int depth = 2;        // transformer blocks
  int heads = 8;
  int head_dim = 64;
  int patch = 8;       // p, px
  int channels = 32;   // Ch of the head
  int tail_scale = 4;  // s: the tail works on Ct = s * Ch channels
  int mlp_ratio = 4;   // hidden width of a feed-forward network over D
  int experts = 16;    // E; 0 when kind is kDense
  int kept = 4;        // K; 0 when kind is kDense
  Stem stem = Stem::kStar;
  FirstExpert first_expert = FirstExpert::kModulate;
  Gate gate = Gate::kReleased;
  // E of each block, where they differ: a pyramid [Rajbhandari et al. 2022, DeepSpeed-MoE]. `experts` is then
  // the largest of them. Empty: `experts` in each.
  std::vector<int> experts_by_block = {};
  bool residual_ffn = false;  // ffn: one network more works on every token, weight 1 [the same]
  // Each has a gate of its own in every block [Ma et al. 2018, MMoE; Fan et al. 2022, M3ViT]. Empty: one
  // gate for all.
  std::vector<std::string> tasks = {};
  Calibration calibration = Calibration::kNone;
  int router_passes = 5;        // M
  double router_dropout = 0.1;  // p, of the router's input in those passes
  bool residual = false;        // output = input + tail, instead of sigmoid(tail)
  int tile_px = 256;            // preferred tile, see TileSpec
  int overlap_px = 32;

  TileSpec tile() const { return {patch, tile_px, overlap_px, false}; }
  bool routed() const { return kind != ExpertKind::kDense; }
  int experts_of(int block) const {
    return experts_by_block.empty() ? experts : experts_by_block[static_cast<size_t>(block)];
  }

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// INVALID_ARGUMENT, naming the field, its value and its range. Bounds keep every product of sizes
// within 64 bits and a checkpoint of a hostile header within memory.
absl::Status Validate(const ModelConfig& config);

// Whether the weights of one are weights of the other and mean the same to it. Names, tiles and what becomes
// of the gates in training may differ.
bool SameNetwork(ModelConfig a, const ModelConfig& b);

// The names in configurations, checkpoints and flags: dense|ffn|fme, star|none, modulate|gelu,
// released|paper, none|paper|confidence. Parsing an unknown name is INVALID_ARGUMENT that lists the known ones.
std::string_view Name(ExpertKind kind);
std::string_view Name(Stem stem);
std::string_view Name(FirstExpert first_expert);
std::string_view Name(Gate gate);
std::string_view Name(Calibration calibration);
absl::StatusOr<ExpertKind> ParseExpertKind(std::string_view name);
absl::StatusOr<Stem> ParseStem(std::string_view name);
absl::StatusOr<FirstExpert> ParseFirstExpert(std::string_view name);
absl::StatusOr<Gate> ParseGate(std::string_view name);
absl::StatusOr<Calibration> ParseCalibration(std::string_view name);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_MODEL_CONFIG_H_
