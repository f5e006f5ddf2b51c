// A long random life of a tile queue beside a plain model of what must be in it.
// Written over the type of the queue, so that a test can plant a bug and see it caught.

#ifndef DEWEATHER_TESTS_BATCH_QUEUE_CHECK_H_
#define DEWEATHER_TESTS_BATCH_QUEUE_CHECK_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/batch/tile_queue.h"
#include "tests/batch/fake_tile.h"

namespace deweather {

template <typename Queue>
class QueueCheck {
 public:
  explicit QueueCheck(uint32_t seed) : random_(seed) {}

  // What went wrong first, and at which event; empty if nothing did.
  std::string Run(int events) {
    for (event_ = 0; event_ < events && failure_.empty(); ++event_) {
      if (event_ % 500 == 0) ChangeLoad();
      now_ += absl::Milliseconds(Below(5));
      Step();
      Expect(queue_.Depth(now_).tiles == waiting_tiles_, "wrong number of tiles waiting");
    }
    Drain();
    return failure_;
  }

 private:
  static constexpr int kCallers = 5;
  static constexpr int kModels = 3;
  static constexpr int kKinds = kModels * 2 * 2;  // times sizes, times priorities

  // What a call has in the queue.
  struct Waiting {
    std::shared_ptr<Call> call;
    int model = 0;
    int side_px = 8;
    int caller = 0;
    std::vector<int> tiles;          // in order
    std::vector<absl::Time> pushed;  // when, of each
    int64_t passed = 0;              // batches since it had its turn, of those that it could be in
    int64_t calls_ahead = 0;         // in its caller, when it came or had its turn
    int64_t most_callers = 0;        // that waited at a batch since
    int given = 0;                   // in the batch at hand

    int priority() const { return static_cast<int>(call->priority); }
    int kind() const { return (model * 2 + (side_px == 16 ? 1 : 0)) * 2 + priority(); }
  };
  // What a caller has in one priority.
  struct CallerState {
    int64_t calls = 0;
    int64_t passed = 0;
    int64_t ahead = 0;  // callers, when it came or had its turn
    // Of the batch at hand.
    int64_t given = 0;
    int64_t left = 0;    // tiles that could have been in it
    bool ready = false;  // had tiles that might go
  };
  struct Group {
    int64_t tiles = 0;
    int64_t calls = 0;
    int64_t fewest = std::numeric_limits<int64_t>::max();
    absl::Time oldest = absl::InfiniteFuture();
    absl::Time deadline = absl::InfiniteFuture();  // the earliest of its calls
    absl::Time next = absl::InfiniteFuture();      // when one of its calls makes it go
    bool ready = false;
  };
  using Groups = std::array<Group, kKinds>;

  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }

  bool Expect(bool good, const std::string& what) {
    if (!good && failure_.empty()) failure_ = absl::StrCat(what, " (event ", event_, ")");
    return good;
  }

  // Now the queue runs empty, now many calls wait.
  void ChangeLoad() {
    load_ = std::array{1, 5, 20, 60}[static_cast<size_t>(Below(4))];
    largest_push_ = Below(3) == 0 ? 2 : 12;
  }

  void Step() {
    const bool more = waiting_.size() < static_cast<size_t>(load_);
    const int kind = Below(40);
    if (kind == 0) {
      CancelOne();
    } else if (kind == 1) {
      RemoveOne();
    } else if (kind < (more ? 25 : 10)) {
      Push();
    } else {
      Pop();
    }
  }

  Waiting* AnyCall() {
    if (waiting_.empty()) return nullptr;
    return &std::next(waiting_.begin(), Below(static_cast<int>(waiting_.size())))->second;
  }

  CallerState& StateOf(const Waiting& waiting) {
    return callers_[static_cast<size_t>(waiting.priority())][static_cast<size_t>(waiting.caller)];
  }
  int64_t WaitingCallers(int priority) const {
    return std::ranges::count_if(callers_[static_cast<size_t>(priority)],
                                 [](const CallerState& state) { return state.calls > 0; });
  }

  void Push() {
    Waiting* const old = AnyCall();
    if (old != nullptr && Below(2) == 0) return PushOf(*old);
    const int id = next_call_++;
    Waiting fresh{.call = MakeCall(Below(3) == 0 ? now_ + absl::Milliseconds(Below(60))
                                                 : absl::InfiniteFuture()),
                  .model = Below(kModels),
                  .side_px = Below(8) == 0 ? 16 : 8,
                  .caller = Below(2) == 0 ? 0 : Below(kCallers),
                  .tiles = {},
                  .pushed = {}};
    fresh.call->caller = absl::StrCat("caller ", fresh.caller);
    if (Below(4) == 0) fresh.call->priority = Priority::kBackground;
    CallerState& state = StateOf(fresh);
    if (state.calls == 0) state = {.ahead = WaitingCallers(fresh.priority())};
    fresh.calls_ahead = state.calls++;
    PushOf(waiting_.emplace(id, std::move(fresh)).first->second);
  }

  void PushOf(Waiting& waiting) {
    for (int i = Below(largest_push_); i >= 0; --i) {
      Tile tile = MakeTile(waiting.call, models_[static_cast<size_t>(waiting.model)],
                           static_cast<int>(answered_.size()), waiting.side_px);
      tile.cost = costs_[static_cast<size_t>(waiting.model)];
      waiting.tiles.push_back(tile.rect.x);
      waiting.pushed.push_back(now_);
      answered_.push_back(false);
      ++waiting_tiles_;
      call_of_[waiting.call.get()] = IdOf(waiting);
      queue_.Push(std::move(tile), now_);
    }
  }

  int IdOf(const Waiting& waiting) const {
    const auto known = call_of_.find(waiting.call.get());
    return known != call_of_.end() ? known->second : next_call_ - 1;
  }

  void Pop() {
    const int most = Below(4) == 0 ? 1 + Below(max_batch_) : max_batch_;
    typename Queue::Popped popped = queue_.PopBatch(now_, most);
    for (const auto& dropped : popped.dropped) CheckDropped(dropped.tile, dropped.status);
    for (const auto& [id, waiting] : waiting_) {
      if (!Expect(StillWanted(*waiting.call, now_).ok(), "an unwanted tile stayed")) return;
    }
    if (!failure_.empty()) return;
    const int largest = LargestWithin(most);
    const Groups groups = CountGroups(largest);
    if (WaitingCallers(1) == 0) background_passed_ = 0;
    if (popped.batch.empty()) return CheckNothingToRun(groups);
    CheckBatch(popped.batch, groups, largest);
  }

  void CheckDropped(const Tile& tile, const absl::Status& status) {
    const absl::Status wanted = StillWanted(*tile.call, now_);
    Expect(!wanted.ok(), "a wanted tile was dropped");
    Expect(status.code() == wanted.code(), "dropped for another reason");
    Answer(tile);
  }

  // The tile is the next of its call, and is answered only this once.
  Waiting* Answer(const Tile& tile) {
    const auto id = call_of_.find(tile.call.get());
    if (!Expect(id != call_of_.end(), "a tile of no waiting call")) return nullptr;
    Waiting& waiting = waiting_.at(id->second);
    const auto index = static_cast<size_t>(tile.rect.x);
    if (!Expect(!answered_[index], "answered twice")) return nullptr;
    if (!Expect(waiting.tiles.front() == tile.rect.x, "a tile was skipped")) return nullptr;
    answered_[index] = true;
    waiting.tiles.erase(waiting.tiles.begin());
    waiting.pushed.erase(waiting.pushed.begin());
    --waiting_tiles_;
    if (!waiting.tiles.empty()) return &waiting;
    Forget(waiting, id->second);
    return nullptr;
  }

  void Forget(Waiting& waiting, int id) {
    --StateOf(waiting).calls;
    call_of_.erase(waiting.call.get());
    waiting_.erase(id);
  }

  int LargestWithin(int64_t limit) const {
    int largest = 1;
    for (const int size : BatchSizes(max_batch_)) {
      if (size <= limit) largest = size;
    }
    return largest;
  }

  absl::Time GoesAt(absl::Time pushed, absl::Time deadline) const {
    return std::max(pushed, std::min(pushed + max_batch_delay_, deadline - max_batch_delay_));
  }

  Groups CountGroups(int largest) const {
    Groups groups;
    for (const auto& [id, waiting] : waiting_) {
      Group& group = groups[static_cast<size_t>(waiting.kind())];
      const auto tiles = static_cast<int64_t>(waiting.tiles.size());
      group.tiles += tiles;
      ++group.calls;
      group.fewest = std::min(group.fewest, tiles);
      group.oldest = std::min(group.oldest, waiting.pushed.front());
      group.deadline = std::min(group.deadline, waiting.call->deadline);
      group.next = std::min(group.next, GoesAt(waiting.pushed.front(), waiting.call->deadline));
    }
    for (Group& group : groups) {
      group.ready = group.tiles > 0 &&
                    (group.tiles >= largest || now_ >= GoesAt(group.oldest, group.deadline));
    }
    return groups;
  }

  void CheckNothingToRun(const Groups& groups) {
    absl::Time earliest = absl::InfiniteFuture();
    for (const Group& group : groups) {
      Expect(!group.ready, "tiles may go and none was taken");
      earliest = std::min(earliest, group.next);
    }
    const std::optional<absl::Time> next = queue_.NextDeadline();
    Expect(next.has_value() == !waiting_.empty(), "a deadline of nothing, or none");
    Expect(!next.has_value() || *next == earliest, "a wrong deadline");
    Expect(!next.has_value() || *next > now_, "looks again before time passes");
  }

  void CheckBatch(const std::vector<Tile>& batch, const Groups& groups, int largest) {
    for (const Tile& tile : batch) {
      Expect(tile.model == batch.front().model, "two models in a batch");
      Expect(tile.rect.width == batch.front().rect.width, "two sizes in a batch");
      Expect(tile.call->priority == batch.front().call->priority, "two priorities in a batch");
    }
    const auto front = call_of_.find(batch.front().call.get());
    if (!Expect(front != call_of_.end(), "a tile of no waiting call")) return;
    const Waiting& first = waiting_.at(front->second);
    const int kind = first.kind();
    const Group& group = groups[static_cast<size_t>(kind)];
    Expect(group.ready, "a batch that should wait for more tiles");
    const auto size = static_cast<int64_t>(batch.size());
    Expect(size == LargestWithin(std::min({int64_t{largest}, group.tiles, Limit(first, group)})),
           absl::StrCat("a batch of ", size, " tiles"));
    CheckPriority(first.priority(), groups);
    CheckTurns(batch, groups, kind);
  }

  // The rule that spares small calls, in tiles.
  int64_t Limit(const Waiting& first, const Group& group) const {
    if (group.calls < 2) return group.tiles;
    const int64_t fixed_tiles =
        fixed_tiles_[static_cast<size_t>(first.model)][first.side_px == 16 ? 1 : 0];
    return std::max(group.calls * group.fewest, 2 * group.fewest + fixed_tiles);
  }

  void CheckPriority(int priority, const Groups& groups) {
    std::array<bool, 2> ready = {};
    for (size_t kind = 0; kind < kKinds; ++kind) ready[kind % 2] |= groups[kind].ready;
    if (priority == 1) {
      Expect(!ready[0] || background_passed_ == kBackgroundEvery - 1, "background out of turn");
      background_passed_ = 0;
    } else {
      if (ready[1]) ++background_passed_;
      Expect(background_passed_ < kBackgroundEvery, "background starved");
    }
  }

  void CheckTurns(const std::vector<Tile>& batch, const Groups& groups, int kind) {
    const int priority = kind % 2;
    const int64_t callers_before = WaitingCallers(priority);
    BeginTurns(priority, groups);
    const CallsGiven given = CountGiven(batch);
    if (!failure_.empty()) return;
    CheckCalls(given, kind);
    CheckCallers(priority);
    for (auto& [id, waiting] : waiting_) {
      if (waiting.priority() != priority) continue;
      CountTurn(waiting, groups[static_cast<size_t>(waiting.kind())].ready, callers_before);
    }
  }

  void BeginTurns(int priority, const Groups& groups) {
    for (CallerState& state : callers_[static_cast<size_t>(priority)]) {
      state.given = state.left = 0;
      state.ready = false;
    }
    for (auto& [id, waiting] : waiting_) {
      waiting.given = 0;
      StateOf(waiting).ready |= groups[static_cast<size_t>(waiting.kind())].ready;
    }
  }

  // Tiles in the batch by caller and call. The tiles are answered.
  using CallsGiven = std::map<int, std::map<int, int64_t>>;
  CallsGiven CountGiven(const std::vector<Tile>& batch) {
    CallsGiven given;
    for (const Tile& tile : batch) {
      const auto id = call_of_.find(tile.call.get());
      if (!Expect(id != call_of_.end(), "a tile of no waiting call")) break;
      const Waiting& of = waiting_.at(id->second);
      ++StateOf(of).given;
      ++given[of.caller][id->second];
      Waiting* const waiting = Answer(tile);
      if (waiting != nullptr) ++waiting->given;
    }
    return given;
  }

  void CheckCalls(const CallsGiven& given, int kind) {
    for (const auto& [id, waiting] : waiting_) {
      if (waiting.kind() != kind) continue;
      StateOf(waiting).left += static_cast<int64_t>(waiting.tiles.size());
      const auto calls = given.find(waiting.caller);
      if (calls == given.end()) continue;
      for (const auto& [other, count] : calls->second) {
        Expect(count <= waiting.given + 1, "calls out of turn");
      }
    }
  }

  void CheckCallers(int priority) {
    auto& states = callers_[static_cast<size_t>(priority)];
    const int64_t most = std::ranges::max(states, {}, &CallerState::given).given;
    const int64_t callers = WaitingCallers(priority);
    for (CallerState& state : states) {
      Expect(state.left == 0 || most <= state.given + 1, "callers out of turn");
      if (state.calls == 0) continue;
      if (state.given > 0) {
        state.passed = 0;
        state.ahead = callers - 1;
      } else if (state.ready) {
        Expect(++state.passed <= state.ahead, "a caller starved");
      }
    }
  }

  // While a call waits for more tiles, others of its caller may have the caller's turn.
  void CountTurn(Waiting& waiting, bool ready, int64_t callers) {
    waiting.most_callers = std::max(waiting.most_callers, callers);
    if (waiting.given > 0 || !ready) {
      waiting.passed = 0;
      waiting.calls_ahead = StateOf(waiting).calls - 1;
      waiting.most_callers = callers;
    } else {
      Expect(++waiting.passed <= (waiting.calls_ahead + 1) * waiting.most_callers,
             "a call starved");
    }
  }

  void CancelOne() {
    Waiting* const waiting = AnyCall();
    if (waiting != nullptr) waiting->call->cancelled = true;
  }

  void RemoveOne() {
    Waiting* const waiting = AnyCall();
    if (waiting == nullptr) return;
    Expect(IndicesOf(queue_.Remove(*waiting->call)) == waiting->tiles, "removed other tiles");
    for (const int tile : waiting->tiles) {
      Expect(!answered_[static_cast<size_t>(tile)], "answered twice");
      answered_[static_cast<size_t>(tile)] = true;
    }
    waiting_tiles_ -= static_cast<int64_t>(waiting->tiles.size());
    Forget(*waiting, IdOf(*waiting));
  }

  void Drain() {
    now_ += max_batch_delay_;
    while (!queue_.empty() && failure_.empty()) Pop();
    Expect(std::ranges::find(answered_, false) == answered_.end(), "a tile was lost");
  }

  static std::shared_ptr<BatchCost> CostOfTiles(absl::Duration fixed, absl::Duration per_tile) {
    auto cost = std::make_shared<BatchCost>();
    for (const int64_t tiles : {1, 8}) cost->Add(tiles * 64, fixed + tiles * per_tile);
    return cost;
  }

  std::mt19937 random_;
  const int max_batch_ = std::array{1, 6, 8, 16}[static_cast<size_t>(Below(4))];
  const absl::Duration max_batch_delay_ =
      absl::Milliseconds(std::array{0, 0, 10, 30}[static_cast<size_t>(Below(4))]);
  Queue queue_{max_batch_, max_batch_delay_};

  const std::array<std::shared_ptr<const Restorer>, kModels> models_ = {FakeModel(), FakeModel(),
                                                                        FakeModel()};
  const std::array<std::shared_ptr<BatchCost>, kModels> costs_ = {
      nullptr, CostOfTiles(absl::Milliseconds(5), absl::Milliseconds(2)),
      CostOfTiles(absl::Seconds(1), absl::Milliseconds(1))};
  // How many tiles of side 8 or 16 px take as long as the fixed part of a batch.
  const std::array<std::array<int64_t, 2>, kModels> fixed_tiles_ = {{{0, 0}, {2, 0}, {1000, 250}}};

  int event_ = 0;
  int load_ = 1;  // calls that wait, about
  int largest_push_ = 12;
  absl::Time now_ = At(0);
  int next_call_ = 0;
  std::map<int, Waiting> waiting_;
  std::unordered_map<const Call*, int> call_of_;                   // to the keys of `waiting_`
  std::array<std::array<CallerState, kCallers>, 2> callers_ = {};  // by priority
  int64_t waiting_tiles_ = 0;
  int background_passed_ = 0;
  std::vector<bool> answered_;  // by tile
  std::string failure_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_BATCH_QUEUE_CHECK_H_
