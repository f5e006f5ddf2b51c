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

}  // namespace

int64_t ResidentBytes() {
  int64_t total_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * sysconf(_SC_PAGESIZE);
}

// The kernel brings its own mark up to date now and then.
int64_t PeakResidentBytes() { return std::max(int64_t{Usage().ru_maxrss} * 1024, ResidentBytes()); }

int64_t MinorFaults() { return Usage().ru_minflt; }

}  // namespace deweather
