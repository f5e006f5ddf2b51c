// What an error is about, said in front of it.

#ifndef DEWEATHER_MODEL_BASE_ANNOTATE_H_
#define DEWEATHER_MODEL_BASE_ANNOTATE_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace deweather {

// "'path': message", of the same code.
inline absl::Status Annotate(const absl::Status& status, std::string_view path) {
  return {status.code(), absl::StrFormat("'%s': %s", path, status.message())};
}

// "field: message", of the same code and with the same details.
inline absl::Status OfField(std::string_view field, const absl::Status& error) {
  absl::Status status(error.code(), absl::StrFormat("%s: %s", field, error.message()));
  error.ForEachPayload(
      [&status](absl::string_view url, const absl::Cord& value) { status.SetPayload(url, value); });
  return status;
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_ANNOTATE_H_
