// `deweather restore`: files in, restored files out.
// A file appears under its name only when it is complete; a failure leaves none.

#ifndef DEWEATHER_CLIENT_RESTORE_COMMAND_H_
#define DEWEATHER_CLIENT_RESTORE_COMMAND_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/channel.h"

namespace deweather {

struct RestoreFlags {
  ServerFlags server;
  std::vector<std::string> inputs;  // files, folders or "-"
  std::string output;               // file, folder or "-"
  bool overwrite = false;
  bool routing = false;
  bool json = false;
  std::string expert_map;   // file; empty: none
  std::string uncertainty;  // file of a heat map; empty: none
  uint64_t seed = 0;        // of the passes behind it
  std::string model;        // empty: the server's default
  std::string task;         // of a model with a gate for each; empty: none
  std::optional<float> strength;
  int quality = 0;
  std::string metadata = "preserve";  // or "strip"
  std::string priority = "normal";    // or "background"
};

// Exit status: 0, 1 if any picture failed, 2 wrong usage.
int RunRestore(const RestoreFlags& flags);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_RESTORE_COMMAND_H_
