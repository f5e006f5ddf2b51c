// Tiles without pictures: a call, a model that only its address tells from others, and an index.

#ifndef DEWEATHER_TESTS_BATCH_FAKE_TILE_H_
#define DEWEATHER_TESTS_BATCH_FAKE_TILE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/batch/call.h"
#include "server/batch/tile.h"

namespace deweather {

inline absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

inline std::shared_ptr<Call> MakeCall(absl::Time deadline = absl::InfiniteFuture()) {
  auto call = std::make_shared<Call>();
  call->deadline = deadline;
  return call;
}

inline std::shared_ptr<Call> MakeCallOf(const std::string& caller,
                                        Priority priority = Priority::kNormal) {
  auto call = MakeCall();
  call->caller = caller;
  call->priority = priority;
  return call;
}

inline std::shared_ptr<const Restorer> FakeModel() {
  return std::static_pointer_cast<const Restorer>(
      std::shared_ptr<const void>(std::make_shared<int>(0)));
}

// The index is in rect.x.
inline Tile MakeTile(std::shared_ptr<const Call> call, std::shared_ptr<const Restorer> model,
                     int index, int side_px = 8, TileDone done = nullptr) {
  return {.call = std::move(call),
          .model = std::move(model),
          .rect = {.x = index, .y = 0, .width = side_px, .height = side_px},
          .done = std::move(done)};
}

inline std::vector<int> IndicesOf(const std::vector<Tile>& tiles) {
  std::vector<int> indices;
  indices.reserve(tiles.size());
  for (const Tile& tile : tiles) indices.push_back(tile.rect.x);
  return indices;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_BATCH_FAKE_TILE_H_
