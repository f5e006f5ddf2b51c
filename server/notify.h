// Tells systemd what state the server is in, as sd_notify(3) specifies.

#ifndef DEWEATHER_SERVER_NOTIFY_H_
#define DEWEATHER_SERVER_NOTIFY_H_

#include <string_view>

namespace deweather {

// Sends `state` ("READY=1", "STOPPING=1") to the socket that NOTIFY_SOCKET names. Without one nothing
// happens; where nobody listens to it the log says so.
//
// Threads  thread-safe
void Notify(std::string_view state);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_NOTIFY_H_
