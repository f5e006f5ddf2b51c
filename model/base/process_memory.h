// What this process holds of the machine's memory, as the kernel counts it.
//
// Threads  thread-safe

#ifndef DEWEATHER_MODEL_BASE_PROCESS_MEMORY_H_
#define DEWEATHER_MODEL_BASE_PROCESS_MEMORY_H_

#include <cstdint>
#include <optional>

namespace deweather {

int64_t ResidentBytes();
int64_t MappedBytes();        // addresses, whether there is memory behind them or not
int64_t PeakResidentBytes();  // since the start

// How many addresses this process may map (RLIMIT_AS); nullopt: there is no limit.
std::optional<int64_t> MappedLimitBytes();

// Pages that the kernel had to map without reading them from a disk, since the start.
int64_t MinorFaults();

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_PROCESS_MEMORY_H_
