// How many processors this process may use.

#ifndef DEWEATHER_MODEL_BASE_PROCESSORS_H_
#define DEWEATHER_MODEL_BASE_PROCESSORS_H_

#include <string>
#include <string_view>

namespace deweather {

// The processors that the scheduler lets it run on, its cpuset counted in; fewer if its control group, or one
// above it, has a smaller quota; >= 1. What the machine has does not count: a container sees all of that.
int UsableProcessors();

// The least quota of this process's control groups, of version 2 or 1, in processors; 0: none has one. `root` is
// where /proc and /sys are.
int ProcessorQuota(const std::string& root = "");

// Processors that the text of a cpu.max file grants, rounded up: "150000 100000" is 2; 0 for "max"
// or anything else, no limit.
int QuotaOf(std::string_view cpu_max);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_PROCESSORS_H_
