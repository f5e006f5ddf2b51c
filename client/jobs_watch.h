// `deweather jobs watch` and `logs`: what happens to a job, and what its program prints, as long as it
// runs. A server that was away is asked again from where its answer ended.

#ifndef DEWEATHER_CLIENT_JOBS_WATCH_H_
#define DEWEATHER_CLIENT_JOBS_WATCH_H_

#include <cstdint>
#include <string>

#include "client/channel.h"

namespace deweather {

struct WatchFlags {
  ServerFlags server = {.timeout = absl::Hours(1)};  // without an answer
  std::string id;
  int64_t after = 0;    // number of the last event that is known
  bool follow = false;  // of logs: to the job's end, not the log's
  int64_t offset = 0;   // of logs, in bytes
  bool json = false;
};

// Events on stdout until the job's end: on a terminal above a bar, else one line an event, with `json` one
// JSON object a line. Ctrl-C ends the watch, not the job. Exit status: 0 if it SUCCEEDED, 1 if not.
int RunJobsWatch(const WatchFlags& flags);

// The log on stdout, byte by byte. Exit status: 0, or 1 after one line on stderr.
int RunJobsLogs(const WatchFlags& flags);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_JOBS_WATCH_H_
