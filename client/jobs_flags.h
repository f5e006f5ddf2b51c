// The command line of `deweather jobs`.

#ifndef DEWEATHER_CLIENT_JOBS_FLAGS_H_
#define DEWEATHER_CLIENT_JOBS_FLAGS_H_

#include "client/flags.h"

namespace deweather {

void AddJobs(CLI::App& parent, Command* chosen);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_JOBS_FLAGS_H_
