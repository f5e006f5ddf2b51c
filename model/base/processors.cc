#include "model/base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace deweather {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// Path of the process's own group under the hierarchy's root, "/" or "/system.slice/…".
std::string OwnGroup() {
  std::istringstream lines(ReadAll("/proc/self/cgroup"));
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "/";
}

int AllowedByScheduler() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

int QuotaOf(std::string_view cpu_max) {
  std::istringstream in{std::string(cpu_max)};
  int64_t quota = 0;
  int64_t period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<int64_t>((quota + period - 1) / period, 1024));
}

int UsableProcessors() {
  int usable = std::max(AllowedByScheduler(), 1);
  // A group's limit holds for the groups below it.
  std::string group = OwnGroup();
  while (true) {
    const int quota = QuotaOf(ReadAll("/sys/fs/cgroup" + group + "/cpu.max"));
    if (quota > 0) usable = std::min(usable, quota);
    if (group.size() <= 1) return usable;
    group = group.substr(0, group.rfind('/'));
  }
}

}  // namespace deweather
