#include "model/base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>

#include "model/base/control_group.h"

namespace deweather {
namespace {

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
  for (const std::string& text : ControlGroupTexts("", "cpu.max")) {
    const int quota = QuotaOf(text);
    if (quota > 0) usable = std::min(usable, quota);
  }
  return usable;
}

}  // namespace deweather
