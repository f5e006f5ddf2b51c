// When a cancel is the deadline's.

#ifndef DEWEATHER_MODEL_BASE_DEADLINE_H_
#define DEWEATHER_MODEL_BASE_DEADLINE_H_

#include "absl/time/time.h"

namespace deweather {

// A caller whose deadline passes cancels, and its clock and the wire are not exact: so close to the
// deadline a cancel is that.
inline constexpr absl::Duration kDeadlineSkew = absl::Milliseconds(50);

inline bool IsDeadlines(absl::Time cancelled, absl::Time deadline) {
  return deadline - cancelled <= kDeadlineSkew;
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_DEADLINE_H_
