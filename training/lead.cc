#include "training/lead.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace deweather {
namespace {

constexpr char kBusy[] = "busy";  // what rank 0 says instead of an outcome
constexpr absl::Duration kBusyEvery = absl::Seconds(10);

using Outcome = absl::StatusOr<std::string>;

std::string Encode(const Outcome& outcome) {
  return absl::StrCat(outcome.status().raw_code(), " ",
                      outcome.ok() ? *outcome : std::string(outcome.status().message()));
}

Outcome Decode(const std::string& text) {
  std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(' ', 1));
  int code = 0;
  if (!absl::SimpleAtoi(parts.first, &code)) {
    return absl::InternalError(absl::StrFormat("rank 0 says '%s'", text));
  }
  if (code == 0) return std::move(parts.second);
  return absl::Status(static_cast<absl::StatusCode>(code), absl::StrCat("rank 0: ", parts.second));
}

Outcome WaitForFirst(Ranks& ranks) {
  std::string text;
  do {
    ranks.Share(text);
  } while (text == kBusy);
  return Decode(text);
}

}  // namespace

Outcome Lead(Ranks& ranks, absl::Duration rank_timeout,
             const std::function<Outcome(const TellBusy& busy)>& work) {
  if (ranks.count() == 1) return work([] {});
  if (!ranks.first()) return WaitForFirst(ranks);
  const absl::Duration every = std::min(kBusyEvery, rank_timeout / 4);
  absl::Time told = absl::Now();
  const Outcome outcome = work([&] {
    if (absl::Now() - told < every) return;
    told = absl::Now();
    std::string busy = kBusy;
    ranks.Share(busy);
  });
  std::string text = Encode(outcome);
  ranks.Share(text);
  return outcome;
}

}  // namespace deweather
