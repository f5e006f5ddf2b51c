// Versions of models in a folder: what an import or a training job leaves for a server to promote.
// A version is immutable and appears whole; the only thing that changes is which one is live.
//
// Layout   MODELS/NAME/VERSION/model.safetensors   a checkpoint; VERSION = first 12 hex digits of
//                                                  its SHA-256, as Checkpoint::version
//          MODELS/NAME/VERSION/manifest.json       {"name", "version", "created_time" (RFC 3339),
//                                                  "bytes", "sha256" (64 hex digits), "source"}
//          MODELS/NAME/live.json                   {"version", "previous", "canary": {"version",
//                                                  "percent"}}; "previous" may be "", "canary"
//                                                  may be missing, other fields are passed over
//          MODELS/NAME/.tmp-*                      a version in the making, or one that is being
//                                                  deleted; one that a crash left is never looked
//                                                  at and may be deleted
//          MODELS is DATA/models of a data folder. NAME obeys model/base/name.h and VERSION is 12
//          digits, so that neither can lead out of MODELS; every function here checks both.
// Threads  thread-safe, between processes too: a version is renamed into place after an fsync, and
//          live.json is replaced by a rename
// Errors   INVALID_ARGUMENT a bad name or version · NOT_FOUND no such version · DATA_LOSS a torn
//          one: no manifest, one that does not fit its folder, another size or SHA-256; the message
//          names the file · what errno says of the disk

#ifndef DEWEATHER_MODEL_VERSION_STORE_H_
#define DEWEATHER_MODEL_VERSION_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace deweather {

// 12 hexadecimal digits in lower case.
bool IsVersion(std::string_view text);

struct VersionManifest {
  std::string name;
  std::string version;
  absl::Time created_time;
  int64_t bytes = 0;   // of the checkpoint
  std::string sha256;  // of the checkpoint
  std::string source;  // where it came from, for people: "import of rain.safetensors"
};

// Where the checkpoint of a version lies.
std::string VersionPath(const std::string& models, const std::string& name,
                        const std::string& version);

struct AddedVersion {
  VersionManifest manifest;
  std::string path;   // of the checkpoint
  bool added = true;  // false: the same bytes were there already, and stay as they were
};

// Stores `checkpoint`, the bytes of a whole checkpoint that the caller has checked; makes the
// folders on the way. A torn version of the same bytes is replaced.
absl::StatusOr<AddedVersion> AddVersion(const std::string& models, const std::string& name,
                                        std::string_view checkpoint, const std::string& source,
                                        absl::Time now);

// The manifest, held against its folder and the size of the checkpoint. Reads no weights.
absl::StatusOr<VersionManifest> ReadManifest(const std::string& models, const std::string& name,
                                             const std::string& version);

// The bytes of a checkpoint, held against the manifest's SHA-256.
absl::StatusOr<std::string> ReadVersion(const std::string& models, const std::string& name,
                                        const std::string& version);

// Deletes a version, whole or torn, and the folder of a name that is left with nothing; a crash leaves
// the version as it was or a .tmp-*. REQUIRES: it is not in use.
absl::Status DeleteVersion(const std::string& models, const std::string& name,
                           const std::string& version);

struct VersionList {
  std::vector<VersionManifest> versions;  // newest first
  std::vector<absl::Status> skipped;      // DATA_LOSS: entries that are no whole version
};

// Empty for a name that has none.
VersionList ListVersions(const std::string& models, const std::string& name);

// Names that have a folder, sorted.
std::vector<std::string> ListStoredNames(const std::string& models);

// Above 0 and below 100.
bool IsCanaryPercent(double percent);

struct LiveRecord {
  std::string version = {};
  std::string previous = {};  // that a rollback goes to; empty: none
  std::string canary = {};    // the version on trial; empty: none
  double canary_percent = 0;  // of the requests that it takes
  std::string problem = {};   // of a canary that cannot be read, and is none then; never written
};

// Nothing if the name never had a live version. DATA_LOSS: the file is there and says no version.
absl::StatusOr<std::optional<LiveRecord>> ReadLive(const std::string& models,
                                                   const std::string& name);
absl::Status WriteLive(const std::string& models, const std::string& name,
                       const LiveRecord& record);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_VERSION_STORE_H_
