// `deweather jobs download`: files of a job. A download that broke off goes on where it ended, in the same
// run of the program or a later one.

#ifndef DEWEATHER_CLIENT_JOBS_DOWNLOAD_H_
#define DEWEATHER_CLIENT_JOBS_DOWNLOAD_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/channel.h"

namespace deweather {

struct DownloadFlags {
  ServerFlags server = {.timeout = absl::Minutes(10)};  // without an answer
  std::string id;
  std::string name;    // of the artifact; empty with `all`
  std::string output;  // file, folder or "-"; empty: the working folder
  bool all = false;
  bool overwrite = false;
  bool json = false;
};

// Files appear when they are whole and have the SHA-256 that the server says; one that is there with the same
// bytes is left as it is. Exit status: 0, 1 if any file failed, 2 wrong usage.
int RunJobsDownload(const DownloadFlags& flags);

// Where an artifact of that name goes. INVALID_ARGUMENT: a name that leads out of the folder.
absl::StatusOr<std::string> OutputOf(const DownloadFlags& flags, const std::string& artifact);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_JOBS_DOWNLOAD_H_
