#include "model/base/process_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace deweather {
namespace {

rusage Usage() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);  // fails for no process that asks of itself
  return usage;
}

struct Sizes {
  int64_t mapped_pages = 0, resident_pages = 0;
};

Sizes SizesNow() {
  Sizes sizes;
  std::ifstream("/proc/self/statm") >> sizes.mapped_pages >> sizes.resident_pages;
  return sizes;
}

}  // namespace

int64_t ResidentBytes() { return SizesNow().resident_pages * sysconf(_SC_PAGESIZE); }

int64_t MappedBytes() { return SizesNow().mapped_pages * sysconf(_SC_PAGESIZE); }

std::optional<int64_t> MappedLimitBytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<int64_t>(limit.rlim_cur);
}

// The kernel brings its own mark up to date now and then.
int64_t PeakResidentBytes() { return std::max(int64_t{Usage().ru_maxrss} * 1024, ResidentBytes()); }

int64_t MinorFaults() { return Usage().ru_minflt; }

}  // namespace deweather
