// `deweather health`: asks a server whether it serves.

#ifndef DEWEATHER_CLIENT_HEALTH_COMMAND_H_
#define DEWEATHER_CLIENT_HEALTH_COMMAND_H_

#include <string>

#include "client/channel.h"

namespace deweather {

struct HealthFlags {
  ServerFlags server = {.timeout = absl::Seconds(3)};  // below the usual time-outs of health checks
  std::string service;                                 // full name; empty: the server as a whole
  bool json = false;
};

// Prints what the server says. Exit status: 0 if that is SERVING, else 1.
int RunHealth(const HealthFlags& flags);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_HEALTH_COMMAND_H_
