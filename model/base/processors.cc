#include "model/base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

int ProcessorQuota(const std::string& root) {
  std::vector<std::string> texts = ControlGroupTexts("", "cpu.max", root);
  // Version 1 has the two numbers in a file each, and says -1 where there is no quota.
  const std::vector<std::string> quotas = ControlGroupTexts("cpu", "cpu.cfs_quota_us", root);
  const std::vector<std::string> periods = ControlGroupTexts("cpu", "cpu.cfs_period_us", root);
  for (size_t i = 0; i < std::min(quotas.size(), periods.size()); ++i) {
    texts.push_back(absl::StrCat(quotas[i], " ", periods[i]));
  }
  int least = 0;
  for (const std::string& text : texts) {
    const int quota = QuotaOf(text);
    if (quota > 0) least = least == 0 ? quota : std::min(least, quota);
  }
  return least;
}

int UsableProcessors() {
  const int allowed = std::max(AllowedByScheduler(), 1);
  const int quota = ProcessorQuota();
  return quota > 0 ? std::min(allowed, quota) : allowed;
}

}  // namespace deweather
