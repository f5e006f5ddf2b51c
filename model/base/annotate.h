// What an error is about, said in front of it.

#ifndef DEWEATHER_MODEL_BASE_ANNOTATE_H_
#define DEWEATHER_MODEL_BASE_ANNOTATE_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace deweather {

// "'path': message", of the same code.
inline absl::Status Annotate(const absl::Status& status, std::string_view path) {
  return {status.code(), absl::StrFormat("'%s': %s", path, status.message())};
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_ANNOTATE_H_
