// What rank 0 does for all ranks, while the others wait for it, however long it takes.

#ifndef DEWEATHER_TRAINING_LEAD_H_
#define DEWEATHER_TRAINING_LEAD_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "training/ranks.h"

namespace deweather {

// Tells the ranks that wait that the first is at work; to be called more often than every rank_timeout.
using TellBusy = std::function<void()>;

// On rank 0 what `work` returns; the others, which do not call it, get the same text or an error of the same code,
// "rank 0: " before its message. `rank_timeout`: that of Ranks::Join. Throws as Ranks does, if rank 0 is lost.
absl::StatusOr<std::string> Lead(
    Ranks& ranks, absl::Duration rank_timeout,
    const std::function<absl::StatusOr<std::string>(const TellBusy& busy)>& work);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LEAD_H_
