// The command line of `deweather datasets`.

#ifndef DEWEATHER_CLIENT_DATASETS_FLAGS_H_
#define DEWEATHER_CLIENT_DATASETS_FLAGS_H_

#include "client/flags.h"

namespace deweather {

void AddDatasets(CLI::App& parent, Command* chosen);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_DATASETS_FLAGS_H_
