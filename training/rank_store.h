// The store by which the ranks of a run find each other: rank 0 holds it, or the launcher, whose store
// outlives attempts.
// An attempt is rank 0's: it numbers it, and says which processes make it. What earlier ones have left in a
// launcher's store belongs to nobody, whatever each machine's launcher has counted.
//
// Keys     deweather/begun           output_dir of the run that this launch has begun
//          deweather/R/tickets       processes of runs of R ranks that came so far: each takes the next number
//          deweather/R/attempt       N, the ticket of the last rank 0
//          deweather/R/N/came/RANK   the ticket of the last that came as RANK
//          deweather/R/N/go          the tickets of those who make attempt N; empty: some did not come
//          deweather/R/N/...         of training/ranks.cc
// Errors   what waits for a store throws c10d's exceptions, where it returns no status

#ifndef DEWEATHER_TRAINING_RANK_STORE_H_
#define DEWEATHER_TRAINING_RANK_STORE_H_

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "training/rank_place.h"

namespace deweather {

using StorePtr = c10::intrusive_ptr<c10d::Store>;

constexpr absl::Duration kGrace = absl::Seconds(3);  // for what should be there at once

struct Meeting {
  StorePtr launch;             // what attempts of one launch tell each other
  StorePtr attempt = nullptr;  // this one's own; null: alone
};

// Waits up to `timeout` until all ranks are there. A process that comes to an attempt without a place for
// it waits for the next one, as the one before may be about to end.
// INVALID_ARGUMENT the address has no meaning; FAILED_PRECONDITION rank 0 cannot listen at the port, or
// another process keeps this rank; UNAVAILABLE some have not come, named.
absl::StatusOr<Meeting> Meet(const RankPlace& place, absl::Duration timeout);

std::string KeyOf(const char* what, int rank);
std::vector<std::string> KeysOf(const char* what, int count);

// Which of the keys are there before the time is over.
std::vector<bool> WaitFor(c10d::Store& store, const std::vector<std::string>& keys,
                          absl::Duration timeout);

// "rank 1", "ranks 1, 2" or "no rank": those of `which` that have that value.
std::string NameRanks(const std::vector<bool>& which, bool value);

// What Gloo or c10d says, in a line, without the place in its sources.
std::string Reason(std::string_view text);

// What `body` returns, or throws; nothing if it takes longer. A store whose holder is stopped never answers:
// then the thread stays behind, with what `body` has captured.
template <typename Body>
auto Within(absl::Duration limit, Body body) -> std::optional<decltype(body())> {
  auto task = std::make_shared<std::packaged_task<decltype(body())()>>(std::move(body));
  auto result = task->get_future();
  std::thread([task] { (*task)(); }).detach();
  if (result.wait_for(absl::ToChronoMilliseconds(limit)) != std::future_status::ready) {
    return std::nullopt;
  }
  return result.get();
}

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RANK_STORE_H_
