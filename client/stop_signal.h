// Ctrl-C as a wish that work asks for.

#ifndef DEWEATHER_CLIENT_STOP_SIGNAL_H_
#define DEWEATHER_CLIENT_STOP_SIGNAL_H_

#include <grpcpp/client_context.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/time/time.h"

namespace deweather {

// True from the first SIGINT or SIGTERM on; a second one ends the program at once.
const std::atomic<bool>& StopOnSignal();

// Until the time is over, or about a tenth of a second after `stop`; false if it is to stop.
bool SleepUnless(const std::atomic<bool>& stop, absl::Duration time);

// Cancels the call of `context` within about a tenth of a second of `stop`, until the thread is
// destroyed. Both outlive it.
std::jthread CancelOn(const std::atomic<bool>& stop, grpc::ClientContext& context);
// The same of any wish; the thread asks for it.
std::jthread CancelWhen(std::function<bool()> wish, grpc::ClientContext& context);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_STOP_SIGNAL_H_
