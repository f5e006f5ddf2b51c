// The command line of `deweather bench`.

#ifndef DEWEATHER_CLIENT_BENCH_FLAGS_H_
#define DEWEATHER_CLIENT_BENCH_FLAGS_H_

#include "client/flags.h"

namespace deweather {

void AddBench(CLI::App& parent, Command* chosen);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_FLAGS_H_
