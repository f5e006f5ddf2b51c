// Addresses to listen on.

#ifndef DEWEATHER_SERVER_RPC_ADDRESS_H_
#define DEWEATHER_SERVER_RPC_ADDRESS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

struct ListeningSockets {
  std::vector<int> sockets;  // do not block; whoever has the result closes them
  int port = 0;              // the same of all
};

// Listens on every address that HOST of HOST:PORT stands for: `localhost` is one of IPv4 and one of IPv6, and an
// address for all of the machine's is one for both. What this machine has not, IPv6 say, is left out while there
// is another. No other process can share the port.
// Errors: ALREADY_EXISTS the port is in use; NOT_FOUND no such host, or not here; else what errno says.
absl::StatusOr<ListeningSockets> Listen(const std::string& address);

// Whether each HOST:PORT can be listened on beside the others, by doing so for a moment: the libraries that will
// listen do not say why they cannot. Listen's errors.
absl::Status CheckCanListen(const std::vector<std::string>& addresses);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_ADDRESS_H_
