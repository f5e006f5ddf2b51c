#include "server/batch/tile_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace deweather {
namespace {

bool MayShareBatch(const Tile& a, const Tile& b) {
  return a.model == b.model && a.rect.width == b.rect.width && a.rect.height == b.rect.height;
}

std::vector<Tile> ToVector(std::deque<Tile> tiles) {
  return {std::make_move_iterator(tiles.begin()), std::make_move_iterator(tiles.end())};
}

}  // namespace

std::vector<int> BatchSizes(int max_batch) {
  std::vector<int> sizes;
  for (int size = 1; size < max_batch; size *= 2) sizes.push_back(size);
  sizes.push_back(max_batch);
  return sizes;
}

TileQueue::TileQueue(int max_batch) : batch_sizes_(BatchSizes(max_batch)) {}

void TileQueue::Push(Tile tile, absl::Time now) {
  tile.enqueued = now;
  const Call* call = tile.call.get();
  auto found = turn_of_.find(call);
  if (found == turn_of_.end()) {
    found = turn_of_.emplace(call, turns_.insert(turns_.end(), Turn{call, {}})).first;
  }
  found->second->tiles.push_back(std::move(tile));
  ++size_;
}

TileQueue::Popped TileQueue::PopBatch(absl::Time now) {
  Popped popped;
  DropUnwanted(now, &popped.dropped);
  if (empty()) return popped;
  const int size = BatchSize(turns_.front().tiles.front());
  popped.batch.reserve(static_cast<size_t>(size));
  popped.batch.push_back(TakeNext(turns_.front().tiles.front()));
  while (popped.batch.size() < static_cast<size_t>(size)) {
    popped.batch.push_back(TakeNext(popped.batch.front()));
  }
  return popped;
}

std::vector<Tile> TileQueue::Remove(const Call& call) {
  const auto found = turn_of_.find(&call);
  if (found == turn_of_.end()) return {};
  return ToVector(Erase(found->second));
}

std::vector<Tile> TileQueue::RemoveAll() {
  std::vector<Tile> tiles;
  while (!turns_.empty()) {
    std::ranges::move(Erase(turns_.begin()), std::back_inserter(tiles));
  }
  return tiles;
}

QueueDepth TileQueue::Depth(absl::Time now) const {
  QueueDepth depth{.tiles = static_cast<int64_t>(size_), .oldest = absl::ZeroDuration()};
  for (const Turn& turn : turns_) {
    depth.oldest = std::max(depth.oldest, now - turn.tiles.front().enqueued);
  }
  return depth;
}

void TileQueue::DropUnwanted(absl::Time now, std::vector<Dropped>* dropped) {
  for (auto next = turns_.begin(); next != turns_.end();) {
    const auto turn = next++;
    const absl::Status status = StillWanted(*turn->call, now);
    if (status.ok()) continue;
    for (Tile& tile : Erase(turn)) dropped->push_back({std::move(tile), status});
  }
}

// The largest size that the waiting tiles like this one fill.
int TileQueue::BatchSize(const Tile& like) const {
  size_t waiting = 0;
  for (const Turn& turn : turns_) {
    if (MayShareBatch(turn.tiles.front(), like)) waiting += turn.tiles.size();
    if (waiting >= static_cast<size_t>(batch_sizes_.back())) return batch_sizes_.back();
  }
  const auto above = std::ranges::upper_bound(batch_sizes_, static_cast<int>(waiting));
  return *std::prev(above);
}

// REQUIRES: such a tile waits.
Tile TileQueue::TakeNext(const Tile& like) {
  const auto turn = std::ranges::find_if(
      turns_, [&](const Turn& other) { return MayShareBatch(other.tiles.front(), like); });
  if (turn->tiles.size() == 1) return std::move(Erase(turn).front());
  Tile tile = std::move(turn->tiles.front());
  turn->tiles.pop_front();
  --size_;
  turns_.splice(turns_.end(), turns_, turn);
  return tile;
}

std::deque<Tile> TileQueue::Erase(Turns::iterator turn) {
  std::deque<Tile> tiles = std::move(turn->tiles);
  size_ -= tiles.size();
  turn_of_.erase(turn->call);
  turns_.erase(turn);
  return tiles;
}

}  // namespace deweather
