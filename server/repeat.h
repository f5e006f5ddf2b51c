// A thread that looks after something now and then.

#ifndef DEWEATHER_SERVER_REPEAT_H_
#define DEWEATHER_SERVER_REPEAT_H_

#include <functional>
#include <stop_token>
#include <thread>

#include "absl/time/time.h"

namespace deweather {

// Calls `task` at once, and again so long after each end of it, until it returns false or is told to stop.
std::jthread Repeat(absl::Duration interval, std::function<bool(const std::stop_token&)> task);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_REPEAT_H_
