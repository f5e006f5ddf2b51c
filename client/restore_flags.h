// The command line of `deweather restore` and `deweather health`.

#ifndef DEWEATHER_CLIENT_RESTORE_FLAGS_H_
#define DEWEATHER_CLIENT_RESTORE_FLAGS_H_

#include "client/flags.h"

namespace deweather {

void AddRestore(CLI::App& parent, Command* chosen);
void AddHealth(CLI::App& parent, Command* chosen);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_RESTORE_FLAGS_H_
