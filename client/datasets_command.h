// `deweather datasets`: what jobs can learn from and be measured on.

#ifndef DEWEATHER_CLIENT_DATASETS_COMMAND_H_
#define DEWEATHER_CLIENT_DATASETS_COMMAND_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "client/channel.h"
#include "deweather/v1/training.pb.h"

namespace deweather {

struct DatasetsFlags {
  ServerFlags server;
  std::string name;    // of upload
  std::string folder;  // of upload
  bool clean = false;  // of upload: at most one of the two
  bool pairs = false;
  bool json = false;
};

// Each prints what the server says: tables for people, one JSON object with `json`. Exit status: 0,
// or after one line on stderr 1, or 2 for wrong usage.
int RunDatasetsList(const DatasetsFlags& flags);
int RunDatasetsUpload(const DatasetsFlags& flags);

// One line a data set, below a line of headings.
std::string DatasetsTable(const std::vector<v1::Dataset>& datasets);

// `kind` is "PAIRS" or "CLEAN"; what is unset is null.
nlohmann::json DatasetJson(const v1::Dataset& dataset);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_DATASETS_COMMAND_H_
