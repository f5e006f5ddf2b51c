// A thread that looks after something now and then.

#ifndef DEWEATHER_SERVER_REPEAT_H_
#define DEWEATHER_SERVER_REPEAT_H_

#include <functional>
#include <stop_token>
#include <thread>

#include "absl/time/time.h"

namespace deweather {

// Calls `task` at once, and again after as long as it says each time, until it is told to stop or that is
// InfiniteDuration.
std::jthread Repeat(std::function<absl::Duration(const std::stop_token&)> task);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_REPEAT_H_
