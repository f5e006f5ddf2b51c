// What a job's program printed, as one long text whose beginning may be gone.
// Byte N of the log is byte N for ever: rotation drops the oldest half and keeps count.
//
// Layout   PATH the newest, PATH.1 what was the newest before; the first line of each is
//          "# log from byte N\n", which is not part of the log
// Threads  one writer; readers are thread-safe, in other processes too
// Errors   INVALID_ARGUMENT an offset beyond the end · what errno says

#ifndef DEWEATHER_TRAINING_JOBS_JOB_LOG_H_
#define DEWEATHER_TRAINING_JOBS_JOB_LOG_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

class JobLog {
 public:
  // Goes on where an earlier life ended. Both files together hold at most max_bytes, >= 4096.
  static absl::StatusOr<JobLog> Open(const std::string& path, int64_t max_bytes);
  JobLog(JobLog&& other) noexcept;
  JobLog& operator=(JobLog&&) = delete;
  ~JobLog();

  absl::Status Append(std::string_view text);
  int64_t end() const { return end_; }

 private:
  JobLog(std::string path, int64_t max_bytes, int file, int64_t begin, int64_t end);

  absl::Status Rotate();

  std::string path_;
  int64_t max_bytes_;
  int file_;
  int64_t begin_;  // of the newest file
  int64_t end_;
};

struct LogPiece {
  int64_t offset = 0;  // of the text; later than asked for where that was rotated away
  std::string text = {};
  int64_t end = 0;  // of the log, now
};

// At most max_bytes from `offset` on; a log that is not there is empty.
absl::StatusOr<LogPiece> ReadLog(const std::string& path, int64_t offset, int64_t max_bytes);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_JOB_LOG_H_
