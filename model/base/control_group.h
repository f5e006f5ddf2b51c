// What the control groups of this process grant it: what the machine has is not what a container gets.
//
// Threads  thread-safe

#ifndef DEWEATHER_MODEL_BASE_CONTROL_GROUP_H_
#define DEWEATHER_MODEL_BASE_CONTROL_GROUP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace deweather {

// The texts of `file` in this process's group and those above it, whose limits hold too. `controller` empty:
// version 2; else of that hierarchy of version 1. `root` is where /proc and /sys are.
std::vector<std::string> ControlGroupTexts(const std::string& controller, const std::string& file,
                                           const std::string& root = "");

// The least limit of memory, of version 2 or 1; nullopt: there is none.
std::optional<int64_t> MemoryLimitBytes(const std::string& root = "");

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_CONTROL_GROUP_H_
