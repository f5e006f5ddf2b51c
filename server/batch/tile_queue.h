// Which tiles make the next batch: policy alone.
// Callers take turns, a tile each, and inside a caller its calls do. The model and tile size of the
// tile whose turn it is are the batch's, and so is whether it wants its uncertainty; it takes the largest of BatchSizes that the waiting tiles
// fill, or a smaller one if that spares a small call (SparesSmallCalls in the .cc).
//
// Bounds   in a batch nobody gives two tiles more than another who has some left: no caller more
//          than another caller, no call more than another call of its caller;
//          a caller with tiles to give is passed over by no more batches of its priority than it
//          had callers ahead;
//          a call that may go, by no more than (calls ahead in its caller + 1) times the callers
//          that wait;
//          kBackground by no more than kBackgroundEvery - 1 batches of kNormal
// Threads  thread-compatible; no lock, thread or clock of its own
// Cost     O(waiting calls) a batch

#ifndef DEWEATHER_SERVER_BATCH_TILE_QUEUE_H_
#define DEWEATHER_SERVER_BATCH_TILE_QUEUE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <tuple>
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

// The largest of `sizes` that is not above `limit`. REQUIRES: sizes of BatchSizes, limit >= 1.
int LargestSize(const std::vector<int>& sizes, int64_t limit);

// While kNormal always has tiles to give, one batch in so many is kBackground's if it has some.
inline constexpr int kBackgroundEvery = 8;

struct QueueDepth {
  int64_t tiles = 0;
  absl::Duration oldest;  // longest wait of a kNormal tile: kBackground waits by design
};

class TileQueue {
 public:
  struct Dropped {
    Tile tile;
    absl::Status status;  // why
  };
  struct Popped {
    std::vector<Tile> batch;       // of one kind and priority; empty: nothing to run now
    std::vector<Dropped> dropped;  // whose call is cancelled or too late
  };

  // Tiles that do not fill the largest batch wait for others up to `max_batch_delay`.
  explicit TileQueue(int max_batch, absl::Duration max_batch_delay = absl::ZeroDuration());

  // REQUIRES: all tiles of a call are of one kind.
  void Push(Tile tile, absl::Time now);

  // The next batch, of at most `max_size` tiles. Work-conserving: what need not wait for
  // `max_batch_delay` is not held up by what does. Every tile that went in comes out exactly once,
  // here or from Remove or RemoveAll. REQUIRES: max_size >= 1.
  Popped PopBatch(absl::Time now, int max_size = std::numeric_limits<int>::max());

  // After PopBatch gave no batch: when it will though nothing else comes. Nullopt: nothing waits.
  std::optional<absl::Time> NextDeadline() const;

  // Takes out what waits of `call`.
  std::vector<Tile> Remove(const Call& call);
  std::vector<Tile> RemoveAll();

  bool empty() const { return size_ == 0; }
  QueueDepth Depth(absl::Time now) const;

 private:
  // Tiles of one kind may share a batch.
  struct Kind {
    const Restorer* model = nullptr;
    int width = 0;
    int height = 0;
    bool uncertainty = false;
    friend bool operator==(const Kind&, const Kind&) = default;
    friend bool operator<(const Kind& a, const Kind& b) {
      return std::tie(a.model, a.width, a.height, a.uncertainty) <
             std::tie(b.model, b.width, b.height, b.uncertainty);
    }
  };
  // What waits of one kind.
  struct Group {
    int64_t tiles = 0;
    int64_t calls = 0;
    int64_t fewest = std::numeric_limits<int64_t>::max();  // tiles of the call that has fewest
    absl::Time oldest = absl::InfiniteFuture();
    absl::Time deadline = absl::InfiniteFuture();  // the earliest of its calls
  };

  struct CallerTurn;
  using Callers = std::list<CallerTurn>;
  struct CallTurn {
    const Call* call;
    Kind kind;
    Callers::iterator caller;
    std::deque<Tile> tiles;  // never empty, oldest first
  };
  using Calls = std::list<CallTurn>;
  struct CallerTurn {
    std::string name;
    Calls calls;  // never empty; the front call is next
  };
  // One priority.
  struct Line {
    Callers callers;  // the front caller is next
    std::unordered_map<std::string, Callers::iterator> by_name;
  };
  // What a line has to give.
  struct Lead {
    Kind kind;
    Group group;
    CostFit cost;
  };

  static bool SparesSmallCalls(int64_t size, const Lead& lead);
  static std::map<Kind, Group> Groups(const Line& line);
  static std::deque<Callers::iterator> CallersWith(Line& line, const Kind& kind);
  Line& LineOf(const Call& call) { return lines_[static_cast<size_t>(call.priority)]; }
  Calls::iterator AddCall(const Tile& tile);
  void DropUnwanted(absl::Time now, std::vector<Dropped>* dropped);
  bool MayGo(const Group& group, absl::Time now, int largest) const;
  std::optional<Lead> FindLead(const Line& line, absl::Time now, int largest) const;
  bool IsBackgroundsTurn(bool normal, bool background);
  int SizeFor(const Lead& lead, int largest) const;
  void Deal(Line& line, const Kind& kind, int size, std::vector<Tile>* batch);
  Tile TakeTile(Calls::iterator call);
  std::deque<Tile> Erase(Calls::iterator call);
  absl::Time OldestNormal() const;
  absl::Time GoesAt(absl::Time oldest, absl::Time deadline) const;

  const std::vector<int> batch_sizes_;
  const absl::Duration max_batch_delay_;
  std::array<Line, 2> lines_;  // by Priority
  std::unordered_map<const Call*, Calls::iterator> turn_of_;
  size_t size_ = 0;            // tiles
  int background_passed_ = 0;  // batches of kNormal that kBackground has let pass
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_TILE_QUEUE_H_
