// The command line of `deweather models`.

#ifndef DEWEATHER_CLIENT_MODELS_FLAGS_H_
#define DEWEATHER_CLIENT_MODELS_FLAGS_H_

#include "client/flags.h"

namespace deweather {

void AddModels(CLI::App& parent, Command* chosen);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_MODELS_FLAGS_H_
