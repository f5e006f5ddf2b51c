// A model of a few lines, to be told what it does.

#ifndef DEWEATHER_TESTS_RESTORE_FAKE_MODEL_H_
#define DEWEATHER_TESTS_RESTORE_FAKE_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/base/tile_spec.h"
#include "server/restore/live_models.h"

namespace deweather {

struct FakeModel {
  std::string name = "fake";
  std::string version = "1";
  TileSpec tile = {.multiple_px = 8, .tile_px = 32, .overlap_px = 8, .whole_image = false};
  int layers = 0;
  int experts = 0;                         // at least one with layers
  std::vector<int> experts_by_layer = {};  // where they differ; `experts` is the largest
  int kept = 0;
  bool per_image = false;               // says that it routes whole pictures
  std::vector<std::string> tasks = {};  // task t of tiles shifts their experts by t
  float gain = 1.0f;                    // a restored pixel is gain times the pixel
  bool nan_for_white = false;           // a tile whose first pixel is white comes out NaN
  bool nan_map_for_white = false;       // its uncertainty does
  bool no_map = false;                  // gives no uncertainty, though asked for it
  bool wrong_map = false;               // one row of tokens less
  bool wrong_shape = false;             // one row less than asked for
  int broken_task = -1;                 // a batch with it comes out NaN
  std::function<void(int batch)> on_run = nullptr;  // before each run, on the executor; may throw
  std::function<void(const std::vector<int>& tasks, bool uncertainty)> on_options = nullptr;
  std::function<absl::Status(int batch)> on_record = nullptr;  // null: it records nothing
  std::shared_ptr<void> life = nullptr;                        // held as long as the model lives
};

// Each 8x8 patch is a token. It keeps `kept` experts from ExpertOf(mean red) on, each with weight
// 1/kept; its heaviest is that first one, in every layer that has so many. The router's entropy is 0.5.
std::shared_ptr<const Restorer> MakeFake(const FakeModel& fake);
LiveModelInfo Install(LiveModels& models, const FakeModel& fake, const Executor& executor);

// Of a value in [0,1].
int ExpertOf(float value, int experts);

// In [0,1): of a token, by the key of its tile, the layer and the token's number.
float FakeUncertainty(uint64_t key, int64_t layer, int64_t token);

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RESTORE_FAKE_MODEL_H_
