// The configuration of a job as people write it, for the wire.
//
// This library has no descriptors of the API in protobuf's pool of the whole program, where they would clash with those
// of a program that has generated code of the same files: those of TrainConfig are in a pool of their own.

#ifndef DEWEATHER_CLIENT_CPP_JOB_CONFIG_H_
#define DEWEATHER_CLIENT_CPP_JOB_CONFIG_H_

#include <string>

#include "absl/status/statusor.h"

namespace deweather {

// A serialised TrainConfig out of text format, or of JSON if that begins with '{'.
//
// Errors   INVALID_ARGUMENT: more than 1 MiB; what is wrong with it, and in which line
absl::StatusOr<std::string> JobConfigBytes(const std::string& text);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CPP_JOB_CONFIG_H_
