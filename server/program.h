// The server's command line.

#ifndef DEWEATHER_SERVER_PROGRAM_H_
#define DEWEATHER_SERVER_PROGRAM_H_

#include "server/serve.h"

namespace deweather {

// What main() does: reads flags and configuration, serves, reports. Returns the exit status: 0, 1 for a
// failure, 2 for wrong usage.
int RunServerProgram(int argc, char** argv, const DecorateRun& decorate_run = {});

}  // namespace deweather

#endif  // DEWEATHER_SERVER_PROGRAM_H_
