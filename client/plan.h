// Which file becomes which, decided before anything is sent.
//
// Threads  thread-safe; looks at the file system and changes nothing
// Errors   INVALID_ARGUMENT wrong usage; NOT_FOUND an input is missing; ALREADY_EXISTS an output is
//          there; else what the file system says of the folder of an output

#ifndef DEWEATHER_CLIENT_PLAN_H_
#define DEWEATHER_CLIENT_PLAN_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/restoration.pb.h"

namespace deweather {

struct PlannedFile {
  std::string input;   // a path, or "-" for stdin
  std::string output;  // a path, or "-" for stdout
  v1::RestoreOptions::Format format = v1::RestoreOptions::FORMAT_UNSPECIFIED;
};

// `inputs` are files, folders or "-"; of a folder every picture directly in it, sorted by name.
// `output` is a file for one input, a folder (which need not exist yet) for several or for a folder,
// or "-". Names in a folder stay those of the inputs, and the extension of an output is its format.
absl::StatusOr<std::vector<PlannedFile>> PlanFiles(const std::vector<std::string>& inputs,
                                                   const std::string& output, bool overwrite);

// Whether `path` may be written: "-", or a file that is not there or may be replaced, in a folder
// that takes one.
absl::Status CheckWritable(const std::string& path, bool overwrite);

// Of one file always the same, however its path is written.
std::string PlaceOf(const std::string& path);

// Of a path by its extension, in any case. INVALID_ARGUMENT names the known ones.
absl::StatusOr<v1::RestoreOptions::Format> FormatOf(std::string_view path);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_PLAN_H_
