// Where and in what a model computes.

#ifndef DEWEATHER_MODEL_BASE_LOAD_OPTIONS_H_
#define DEWEATHER_MODEL_BASE_LOAD_OPTIONS_H_

#include <string>

#include "model/base/precision.h"

namespace deweather {

struct LoadOptions {
  std::string device = "auto";  // auto (a GPU if there is one), cpu, cuda, cuda:N
  Precision precision = Precision::kAuto;
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_LOAD_OPTIONS_H_
