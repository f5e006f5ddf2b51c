// What this process holds of the machine's memory, as the kernel counts it.
//
// Threads  thread-safe

#ifndef DEWEATHER_MODEL_BASE_PROCESS_MEMORY_H_
#define DEWEATHER_MODEL_BASE_PROCESS_MEMORY_H_

#include <cstdint>

namespace deweather {

int64_t ResidentBytes();
int64_t PeakResidentBytes();  // since the start

// Pages that the kernel had to map without reading them from a disk, since the start.
int64_t MinorFaults();

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_PROCESS_MEMORY_H_
