// Which tiles make the next batch: policy alone.
// Calls take turns: each gives one tile, then goes to the back; the front call's model and tile
// size are the batch's.
//
// Threads  thread-compatible; no lock, thread or clock of its own
// Cost     O(waiting calls) a batch

#ifndef DEWEATHER_SERVER_BATCH_TILE_QUEUE_H_
#define DEWEATHER_SERVER_BATCH_TILE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/batch/call.h"
#include "server/batch/tile.h"

namespace deweather {

// Sizes a batch may have, ascending: 1, 2, 4, 8, ... and `max_batch`. So few that each can be
// warmed, and that memory stays bounded. REQUIRES: max_batch >= 1.
std::vector<int> BatchSizes(int max_batch);

struct QueueDepth {
  int64_t tiles = 0;
  absl::Duration oldest;  // wait of the tile that has waited longest
};

class TileQueue {
 public:
  struct Dropped {
    Tile tile;
    absl::Status status;  // why
  };
  struct Popped {
    std::vector<Tile> batch;       // of one model and one size; empty: nothing waits
    std::vector<Dropped> dropped;  // whose call is cancelled or too late
  };

  explicit TileQueue(int max_batch);

  // REQUIRES: all tiles of a call have the same model and size.
  void Push(Tile tile, absl::Time now);

  // Work-conserving: the largest of BatchSizes that the waiting tiles fill. Every tile that went in
  // comes out exactly once, here or from Remove or RemoveAll.
  Popped PopBatch(absl::Time now);

  // Takes out what waits of `call`.
  std::vector<Tile> Remove(const Call& call);
  std::vector<Tile> RemoveAll();

  bool empty() const { return size_ == 0; }
  QueueDepth Depth(absl::Time now) const;

 private:
  struct Turn {
    const Call* call;
    std::deque<Tile> tiles;  // never empty, oldest first
  };
  using Turns = std::list<Turn>;

  void DropUnwanted(absl::Time now, std::vector<Dropped>* dropped);
  int BatchSize(const Tile& like) const;
  Tile TakeNext(const Tile& like);
  std::deque<Tile> Erase(Turns::iterator turn);

  const std::vector<int> batch_sizes_;
  Turns turns_;  // the front call is next
  std::unordered_map<const Call*, Turns::iterator> turn_of_;
  size_t size_ = 0;  // tiles
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_TILE_QUEUE_H_
