// `deweather bench`: puts a load on a server and tells how it bore it.

#ifndef DEWEATHER_CLIENT_BENCH_COMMAND_H_
#define DEWEATHER_CLIENT_BENCH_COMMAND_H_

#include "client/bench_plan.h"

namespace deweather {

// Prints the figures: a table, or with `json` one object and nothing else. Progress goes to stderr
// if that is a terminal; SIGINT and SIGTERM end the load early, and the figures say so. Exit
// status: 0, 1 if nothing was restored, anything was wrong or no server answers, 2 wrong usage.
int RunBench(const BenchFlags& flags);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_COMMAND_H_
