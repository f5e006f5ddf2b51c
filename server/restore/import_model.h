// A checkpoint that was trained elsewhere becomes a version of a model; no Torch in sight.
//
// Threads  thread-safe; blocks for as long as the file takes to read, check and write
// Errors   INVALID_ARGUMENT (INVALID_CHECKPOINT) no checkpoint, or a tensor that is missing, misshapen or not
//          finite, by name · RESOURCE_EXHAUSTED (DISK_FULL) · what errno says of the disk

#ifndef DEWEATHER_SERVER_RESTORE_IMPORT_MODEL_H_
#define DEWEATHER_SERVER_RESTORE_IMPORT_MODEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace deweather {

struct ImportedVersion {
  std::string name;  // of the model
  std::string version;
  bool added = true;                // false: the store had it already
  std::vector<std::string> unused;  // tensors of the authors' layout that nothing uses
};

// `file` is ours or the authors' (model/import.h). `name` overrides the checkpoint's; `source` says where it
// came from, for people.
absl::StatusOr<ImportedVersion> ImportModel(const std::string& models, std::string file,
                                            const std::string& name, const std::string& source,
                                            absl::Time now);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_IMPORT_MODEL_H_
