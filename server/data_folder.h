// The folder of what the server keeps (data_dir): what lies where, and whether this process may use it.
//
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_DATA_FOLDER_H_
#define DEWEATHER_SERVER_DATA_FOLDER_H_

#include <string>

#include "absl/status/status.h"
#include "model/base/server_options.h"

namespace deweather {

// Empty where there is no data folder.
std::string ModelsFolder(const std::string& data_dir);
std::string JobsFolder(const std::string& data_dir);
std::string DatasetsFolder(const std::string& data_dir);

// Whether the data folder, and what is in it already, can be read; a server that runs jobs writes there too.
// The message names the path, this process's user and what would help.
absl::Status CheckDataFolder(const ServerOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_DATA_FOLDER_H_
