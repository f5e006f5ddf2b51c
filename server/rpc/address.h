// Addresses to listen on.

#ifndef DEWEATHER_SERVER_RPC_ADDRESS_H_
#define DEWEATHER_SERVER_RPC_ADDRESS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace deweather {

// Whether each HOST:PORT can be listened on beside the others, by doing so for a moment: the libraries that will
// listen do not say why they cannot.
// Errors: ALREADY_EXISTS the port is in use; NOT_FOUND no such host; else what errno says.
absl::Status CheckCanListen(const std::vector<std::string>& addresses);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_ADDRESS_H_
