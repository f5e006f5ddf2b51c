// A connection of our own to a server, for a look at it that gRPC does not give.

#ifndef DEWEATHER_CLIENT_DIAL_H_
#define DEWEATHER_CLIENT_DIAL_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace deweather {

// Owns     the socket
// Threads  thread-compatible
// Errors   DEADLINE_EXCEEDED once the deadline has passed; else what errno says
class Connection {
 public:
  // Tries each address of the name; the error is the last one's. NOT_FOUND: the name has none.
  static absl::StatusOr<Connection> Dial(std::string_view server, absl::Time deadline);

  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) = delete;
  ~Connection();

  absl::Status Send(std::string_view bytes);

  // Some bytes; none once the other side has closed.
  absl::StatusOr<std::string> Receive();

 private:
  Connection(int socket, absl::Time deadline) : socket_(socket), deadline_(deadline) {}

  // Waits for one of poll's events.
  absl::Status Await(short events) const;
  absl::Status Connect(const void* address, unsigned bytes);

  int socket_;
  absl::Time deadline_;
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_DIAL_H_
