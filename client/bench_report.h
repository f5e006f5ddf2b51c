// What `deweather bench` tells of a load: a table for people, JSON for programs.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_CLIENT_BENCH_REPORT_H_
#define DEWEATHER_CLIENT_BENCH_REPORT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "client/bench_plan.h"
#include "client/bench_stats.h"

namespace deweather {

// Every figure of the load. Times are in milliseconds and end in _ms; null where nothing was timed.
// Counts and latencies are of the calls that were due within the window. Rates are per second of the
// window, and of the good replies that ended within it.
nlohmann::json BenchJson(const BenchFlags& flags, const std::vector<MixPart>& mix,
                         const BenchResult& result);

// The same for people. REQUIRES: `report` is BenchJson's.
std::string BenchTable(const nlohmann::json& report);

// 0 if a call was restored and none wrongly, else 1.
int BenchExitStatus(const BenchTally& tally);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_REPORT_H_
