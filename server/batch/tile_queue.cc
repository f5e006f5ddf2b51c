#include "server/batch/tile_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace deweather {
namespace {

std::vector<Tile> ToVector(std::deque<Tile> tiles) {
  return {std::make_move_iterator(tiles.begin()), std::make_move_iterator(tiles.end())};
}

// Of batches of such tiles; where nothing is known, time is taken as the pixels'.
CostFit CostOf(const Tile& tile) {
  const CostFit measured = tile.cost ? tile.cost->Fit() : CostFit{};
  return measured.known() ? measured : CostFit{.per_megapixel = absl::Seconds(1)};
}

}  // namespace

std::vector<int> BatchSizes(int max_batch) {
  std::vector<int> sizes;
  for (int size = 1; size < max_batch; size *= 2) sizes.push_back(size);
  sizes.push_back(max_batch);
  return sizes;
}

int LargestSize(const std::vector<int>& sizes, int64_t limit) {
  return *std::prev(std::ranges::upper_bound(sizes, limit));
}

TileQueue::TileQueue(int max_batch, absl::Duration max_batch_delay)
    : batch_sizes_(BatchSizes(max_batch)), max_batch_delay_(max_batch_delay) {}

void TileQueue::Push(Tile tile, absl::Time now) {
  tile.enqueued = now;
  const Call* call = tile.call.get();
  auto found = turn_of_.find(call);
  if (found == turn_of_.end()) found = turn_of_.emplace(call, AddCall(tile)).first;
  found->second->tiles.push_back(std::move(tile));
  ++size_;
}

TileQueue::Calls::iterator TileQueue::AddCall(const Tile& tile) {
  const Call& call = *tile.call;
  Line& line = LineOf(call);
  const auto [named, fresh] = line.by_name.try_emplace(call.caller);
  if (fresh) {
    named->second = line.callers.insert(line.callers.end(), CallerTurn{call.caller, {}});
  }
  const Kind kind{tile.model.get(), tile.rect.width, tile.rect.height, tile.uncertainty};
  Calls& calls = named->second->calls;
  return calls.insert(calls.end(), CallTurn{&call, kind, named->second, {}});
}

TileQueue::Popped TileQueue::PopBatch(absl::Time now, int max_size) {
  Popped popped;
  DropUnwanted(now, &popped.dropped);
  const int largest = LargestSize(batch_sizes_, max_size);
  auto& [normal_line, background_line] = lines_;
  const std::optional<Lead> normal = FindLead(normal_line, now, largest);
  const std::optional<Lead> background = FindLead(background_line, now, largest);
  if (IsBackgroundsTurn(normal.has_value(), background.has_value())) {
    Deal(background_line, background->kind, SizeFor(*background, largest), &popped.batch);
  } else if (normal.has_value()) {
    Deal(normal_line, normal->kind, SizeFor(*normal, largest), &popped.batch);
  }
  return popped;
}

std::optional<absl::Time> TileQueue::NextDeadline() const {
  if (empty()) return std::nullopt;
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [call, turn] : turn_of_) {
    next = std::min(next, GoesAt(turn->tiles.front().enqueued, call->deadline));
  }
  return next;
}

std::vector<Tile> TileQueue::Remove(const Call& call) {
  const auto found = turn_of_.find(&call);
  if (found == turn_of_.end()) return {};
  return ToVector(Erase(found->second));
}

std::vector<Tile> TileQueue::RemoveAll() {
  std::vector<Tile> tiles;
  for (Line& line : lines_) {
    while (!line.callers.empty()) {
      std::ranges::move(Erase(line.callers.front().calls.begin()), std::back_inserter(tiles));
    }
  }
  return tiles;
}

QueueDepth TileQueue::Depth(absl::Time now) const {
  QueueDepth depth{.tiles = static_cast<int64_t>(size_), .oldest = absl::ZeroDuration()};
  depth.oldest = std::max(depth.oldest, now - OldestNormal());
  return depth;
}

// When the kNormal tile came that has waited longest; InfiniteFuture if none waits.
absl::Time TileQueue::OldestNormal() const {
  absl::Time oldest = absl::InfiniteFuture();
  for (const auto& [call, turn] : turn_of_) {
    if (call->priority != Priority::kNormal) continue;
    oldest = std::min(oldest, turn->tiles.front().enqueued);
  }
  return oldest;
}

void TileQueue::DropUnwanted(absl::Time now, std::vector<Dropped>* dropped) {
  for (auto next = turn_of_.begin(); next != turn_of_.end();) {
    const auto [call, turn] = *next++;
    const absl::Status status = StillWanted(*call, now);
    if (status.ok()) continue;
    for (Tile& tile : Erase(turn)) dropped->push_back({std::move(tile), status});
  }
}

std::map<TileQueue::Kind, TileQueue::Group> TileQueue::Groups(const Line& line) {
  std::map<Kind, Group> groups;
  for (const CallerTurn& caller : line.callers) {
    for (const CallTurn& call : caller.calls) {
      Group& group = groups[call.kind];
      const auto tiles = static_cast<int64_t>(call.tiles.size());
      group.tiles += tiles;
      ++group.calls;
      group.fewest = std::min(group.fewest, tiles);
      group.oldest = std::min(group.oldest, call.tiles.front().enqueued);
      group.deadline = std::min(group.deadline, call.call->deadline);
    }
  }
  return groups;
}

// A clock that was set back holds nothing up.
bool TileQueue::MayGo(const Group& group, absl::Time now, int largest) const {
  return group.tiles >= largest || now >= GoesAt(group.oldest, group.deadline) ||
         now < group.oldest;
}

// What waits for company goes when the delay is over, or when as much is left until its deadline: so
// that there is time to run it.
absl::Time TileQueue::GoesAt(absl::Time oldest, absl::Time deadline) const {
  return std::max(oldest, std::min(oldest + max_batch_delay_, deadline - max_batch_delay_));
}

// The first call in turn whose tiles may go now; nullopt if all of the line are to wait for more.
std::optional<TileQueue::Lead> TileQueue::FindLead(const Line& line, absl::Time now,
                                                   int largest) const {
  const std::map<Kind, Group> groups = Groups(line);
  for (const CallerTurn& caller : line.callers) {
    for (const CallTurn& call : caller.calls) {
      const Group& group = groups.at(call.kind);
      if (MayGo(group, now, largest)) return Lead{call.kind, group, CostOf(call.tiles.front())};
    }
  }
  return std::nullopt;
}

// kNormal goes first, but for every kBackgroundEvery-th time that kBackground could go as well.
bool TileQueue::IsBackgroundsTurn(bool normal, bool background) {
  const bool turn = background && (!normal || background_passed_ == kBackgroundEvery - 1);
  const bool passed = background && !turn;
  const bool waits = !lines_[static_cast<size_t>(Priority::kBackground)].callers.empty();
  background_passed_ = turn || !waits ? 0 : background_passed_ + (passed ? 1 : 0);
  return turn;
}

int TileQueue::SizeFor(const Lead& lead, int largest) const {
  const auto fits = [&](int size) {
    return size <= largest && size <= lead.group.tiles && SparesSmallCalls(size, lead);
  };
  return *std::find_if(batch_sizes_.rbegin(), batch_sizes_.rend(), fits);  // 1 always fits
}

// A call whose last waiting tiles are in a batch is done when the batch is, so the others' tiles in
// it are time that it waits. All calls may give as many as the smallest has; beyond that the batch
// may take no longer than twice what the smallest call alone would:
//
//          Cost(size) <= 2 Cost(fewest)   <=>   per_tile (size - 2 fewest) <= fixed
//
// Where the fixed part dominates, as on a GPU, this limits nothing.
bool TileQueue::SparesSmallCalls(int64_t size, const Lead& lead) {
  const Group& group = lead.group;
  if (group.calls < 2 || size <= group.calls * group.fewest) return true;
  const int64_t more = size - 2 * group.fewest;
  const double megapixels = 1e-6 * static_cast<double>(more * lead.kind.width * lead.kind.height);
  return more <= 0 || lead.cost.per_megapixel * megapixels <= lead.cost.fixed;
}

std::deque<TileQueue::Callers::iterator> TileQueue::CallersWith(Line& line, const Kind& kind) {
  std::deque<Callers::iterator> callers;
  for (auto caller = line.callers.begin(); caller != line.callers.end(); ++caller) {
    if (std::ranges::find(caller->calls, kind, &CallTurn::kind) != caller->calls.end()) {
      callers.push_back(caller);
    }
  }
  return callers;
}

// Fills a batch with tiles of a kind, in turn. A caller who gives a tile of its front call goes to
// the back, and so does the one who leads the batch. A caller whose front call is of another kind
// and who only joins in keeps its turn: else that call might never be at the front of a batch.
// REQUIRES: so many tiles wait.
void TileQueue::Deal(Line& line, const Kind& kind, int size, std::vector<Tile>* batch) {
  batch->reserve(static_cast<size_t>(size));
  std::deque<Callers::iterator> round = CallersWith(line, kind);
  while (batch->size() < static_cast<size_t>(size)) {
    const auto caller = round.front();
    round.pop_front();
    const auto call = std::ranges::find(caller->calls, kind, &CallTurn::kind);
    if (batch->empty() || call == caller->calls.begin()) {
      line.callers.splice(line.callers.end(), line.callers, caller);
    }
    const bool has_more =
        call->tiles.size() > 1 || std::ranges::find(std::next(call), caller->calls.end(), kind,
                                                    &CallTurn::kind) != caller->calls.end();
    batch->push_back(TakeTile(call));
    if (has_more) round.push_back(caller);
  }
}

// The call, if it has more, goes to the back of its caller's.
Tile TileQueue::TakeTile(Calls::iterator call) {
  if (call->tiles.size() == 1) return std::move(Erase(call).front());
  Tile tile = std::move(call->tiles.front());
  call->tiles.pop_front();
  --size_;
  Calls& calls = call->caller->calls;
  calls.splice(calls.end(), calls, call);
  return tile;
}

std::deque<Tile> TileQueue::Erase(Calls::iterator call) {
  std::deque<Tile> tiles = std::move(call->tiles);
  size_ -= tiles.size();
  Line& line = LineOf(*call->call);
  const auto caller = call->caller;
  turn_of_.erase(call->call);
  caller->calls.erase(call);
  if (caller->calls.empty()) {
    line.by_name.erase(caller->name);
    line.callers.erase(caller);
  }
  return tiles;
}

}  // namespace deweather
