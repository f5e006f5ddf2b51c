#include "training/rank_store.h"

#include <netdb.h>

#include <algorithm>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/base/status_macros.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(50);  // between two looks at a store

std::string Where(const RankPlace& place) { return absl::StrCat(place.address, ":", place.port); }

StorePtr Part(const std::string& prefix, const StorePtr& store) {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, store);
}

// A name may be young: some launchers make it when rank 0 begins.
absl::Status CheckAddress(const RankPlace& place, absl::Duration timeout) {
  const absl::Time end = absl::Now() + std::min(timeout, kGrace);
  while (true) {
    addrinfo* found = nullptr;
    const int error = getaddrinfo(place.address.c_str(), nullptr, nullptr, &found);
    if (error == 0) {
      freeaddrinfo(found);
      return absl::OkStatus();
    }
    if (absl::Now() >= end) {
      return absl::InvalidArgumentError(absl::StrFormat("MASTER_ADDR '%s' cannot be resolved: %s",
                                                        place.address, gai_strerror(error)));
    }
    absl::SleepFor(kLook);
  }
}

absl::StatusOr<StorePtr> OpenStore(const RankPlace& place, absl::Duration timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place.port);
  options.isServer = place.rank == 0 && !place.store_is_there;
  options.waitWorkers = false;
  options.timeout = absl::ToChronoMilliseconds(timeout);
  try {
    return StorePtr(c10::make_intrusive<c10d::TCPStore>(place.address, options));
  } catch (const c10::DistError& error) {
    const std::string line = Reason(error.what_without_backtrace());
    if (absl::StrContains(line, "failed to listen")) {
      return absl::FailedPreconditionError(
          absl::StrFormat("rank 0 cannot listen at MASTER_PORT %d: %s", place.port, line));
    }
    return absl::UnavailableError(
        absl::StrFormat("nobody answers at MASTER_ADDR:MASTER_PORT %s: %s", Where(place), line));
  }
}

absl::Status NotAllCame(const RankPlace& place, const std::vector<bool>& came,
                        absl::Duration timeout) {
  return absl::UnavailableError(absl::StrFormat(
      "of %d ranks %s came to %s within %s, %s did not", place.count, NameRanks(came, true),
      Where(place), absl::FormatDuration(timeout), NameRanks(came, false)));
}

// Rank 0's part. Its store may be this process's: it is kept until those who came know that others did not.
absl::StatusOr<StorePtr> LeadAttempt(const RankPlace& place, const StorePtr& meeting,
                                     absl::Time end, absl::Duration timeout) {
  const std::string number = absl::StrCat(meeting->add("tickets", 1));
  const StorePtr attempt = Part(number, meeting);
  attempt->set(KeyOf("came", 0), number);
  meeting->set("attempt", number);
  const std::vector<std::string> keys = KeysOf("came", place.count);
  const std::vector<bool> came = WaitFor(*attempt, keys, end - absl::Now());
  std::vector<std::string> tickets, heard;
  for (int rank = 0; rank < place.count; ++rank) {
    if (!came[rank]) continue;
    tickets.push_back(attempt->get_to_str(keys[rank]));
    if (rank > 0) heard.push_back(KeyOf("heard", rank));
  }
  if (std::ssize(tickets) == place.count) {
    attempt->set("go", absl::StrJoin(tickets, ","));
    return attempt;
  }
  attempt->set("go", "");
  WaitFor(*attempt, heard, kGrace);
  return NotAllCame(place, came, timeout);
}

// Another rank's view of the attempt that is rank 0's last.
struct Attempt {
  std::string number;  // empty: rank 0 has not come
  StorePtr store;
  bool came = false;  // before it began
};

Attempt ComeTo(const RankPlace& place, const StorePtr& meeting, const std::string& number,
               const std::string& ticket) {
  Attempt attempt{number, Part(number, meeting)};
  attempt.came = !attempt.store->check({"go"});
  if (attempt.came) attempt.store->set(KeyOf("came", place.rank), ticket);
  return attempt;
}

// Of an attempt that this process came to, and others did not. Rank 0 may wait for it to know, and no longer.
absl::Status Few(const RankPlace& place, const Attempt& attempt, absl::Duration timeout) {
  const std::vector<bool> came =
      WaitFor(*attempt.store, KeysOf("came", place.count), absl::ZeroDuration());
  attempt.store->set(KeyOf("heard", place.rank), "");
  return NotAllCame(place, came, timeout);
}

absl::Status NoPlace(const RankPlace& place, const Attempt& attempt, absl::Duration timeout) {
  if (attempt.number.empty()) {
    return absl::UnavailableError(absl::StrFormat("rank 0 did not come to %s within %s",
                                                  Where(place), absl::FormatDuration(timeout)));
  }
  if (attempt.came) return Few(place, attempt, timeout);
  return absl::FailedPreconditionError(
      absl::StrFormat("another process is rank %d already at MASTER_ADDR:MASTER_PORT %s, and no "
                      "other attempt began within %s",
                      place.rank, Where(place), absl::FormatDuration(timeout)));
}

// Looks at the attempt that is rank 0's last. Null: this process has no place in it yet.
absl::StatusOr<StorePtr> LookAt(const RankPlace& place, const StorePtr& meeting,
                                const std::string& ticket, absl::Duration timeout,
                                Attempt& attempt) {
  if (!meeting->check({"attempt"})) return nullptr;
  const std::string last = meeting->get_to_str("attempt");
  if (last != attempt.number) attempt = ComeTo(place, meeting, last, ticket);
  if (!attempt.came || !attempt.store->check({"go"})) return nullptr;
  const std::string go = attempt.store->get_to_str("go");
  if (go.empty()) return Few(place, attempt, timeout);
  const std::vector<std::string> tickets = absl::StrSplit(go, ',');
  if (tickets[place.rank] == ticket) return attempt.store;
  attempt.came = false;  // another took the place
  return nullptr;
}

// The first attempt that has this process in it.
absl::StatusOr<StorePtr> FollowAttempt(const RankPlace& place, const StorePtr& meeting,
                                       absl::Time end, absl::Duration timeout) {
  const std::string ticket = absl::StrCat(meeting->add("tickets", 1));
  Attempt attempt;
  while (true) {
    DW_ASSIGN_OR_RETURN(const StorePtr found, LookAt(place, meeting, ticket, timeout, attempt));
    if (found != nullptr) return found;
    if (absl::Now() >= end) return NoPlace(place, attempt, timeout);
    absl::SleepFor(kLook);
  }
}

absl::StatusOr<Meeting> MeetUntil(const RankPlace& place, absl::Time end, absl::Duration timeout) {
  const absl::Duration left = std::max(end - absl::Now(), kLook);
  const absl::Duration least = place.rank == 0 ? kGrace : kLook;  // its own store is there
  DW_ASSIGN_OR_RETURN(const StorePtr store, OpenStore(place, std::max(left, least)));
  store->setTimeout(absl::ToChronoMilliseconds(timeout));
  Meeting meeting{Part("deweather", store)};
  if (place.count == 1) return meeting;
  const StorePtr ours = Part(absl::StrCat(place.count), meeting.launch);
  DW_ASSIGN_OR_RETURN(meeting.attempt, place.rank == 0 ? LeadAttempt(place, ours, end, timeout)
                                                       : FollowAttempt(place, ours, end, timeout));
  return meeting;
}

}  // namespace

absl::StatusOr<Meeting> Meet(const RankPlace& place, absl::Duration timeout) {
  DW_RETURN_IF_ERROR(CheckAddress(place, timeout));
  const absl::Time end = absl::Now() + timeout;
  const auto meet = [=]() -> absl::StatusOr<Meeting> {
    while (true) {
      try {
        return MeetUntil(place, end, timeout);
      } catch (const c10::DistError&) {  // the store of an attempt that has ended: another comes
        if (place.rank == 0 || absl::Now() >= end) throw;
      }
      absl::SleepFor(kLook);
    }
  };
  auto meeting = Within(timeout + 2 * kGrace, meet);
  if (meeting) return *std::move(meeting);
  return absl::UnavailableError(
      absl::StrFormat("the store at MASTER_ADDR:MASTER_PORT %s does not answer", Where(place)));
}

std::string KeyOf(const char* what, int rank) { return absl::StrCat(what, "/", rank); }

std::vector<std::string> KeysOf(const char* what, int count) {
  std::vector<std::string> keys;
  for (int rank = 0; rank < count; ++rank) keys.push_back(KeyOf(what, rank));
  return keys;
}

std::vector<bool> WaitFor(c10d::Store& store, const std::vector<std::string>& keys,
                          absl::Duration timeout) {
  try {
    store.wait(keys, absl::ToChronoMilliseconds(std::max(timeout, absl::Milliseconds(1))));
    return std::vector<bool>(keys.size(), true);
  } catch (const c10::DistError&) {
    std::vector<bool> there;
    for (const std::string& key : keys) there.push_back(store.check({key}));
    return there;
  }
}

std::string NameRanks(const std::vector<bool>& which, bool value) {
  std::vector<int> ranks;
  for (size_t rank = 0; rank < which.size(); ++rank) {
    if (which[rank] == value) ranks.push_back(static_cast<int>(rank));
  }
  if (ranks.empty()) return "no rank";
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

std::string Reason(std::string_view text) {
  const std::string_view line = FirstLine(text);
  const size_t end = line.starts_with('[') ? line.find("] ") : line.npos;
  return std::string(end == line.npos ? line : line.substr(end + 2));
}

}  // namespace deweather
