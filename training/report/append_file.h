// A file that grows by whole records, and never ends in half of one while its process lives.
//
// Owns     a file descriptor
// Threads  thread-compatible
// Errors   what errno says; a record that could not be written is lost, and the next may be tried

#ifndef DEWEATHER_TRAINING_REPORT_APPEND_FILE_H_
#define DEWEATHER_TRAINING_REPORT_APPEND_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

class AppendFile {
 public:
  // Makes the file unless it is there.
  static absl::StatusOr<AppendFile> Open(const std::string& path);

  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) noexcept;
  ~AppendFile();

  // All of `record` or, on an error, nothing of it: a full disk leaves no torn record amid good ones.
  absl::Status Append(std::string_view record);

  // What was appended survives a power cut.
  absl::Status Sync();

  const std::string& path() const { return path_; }

 private:
  AppendFile(std::string path, int file, int64_t size)
      : path_(std::move(path)), file_(file), size_(size) {}

  absl::Status Write(std::string_view record);

  std::string path_;
  int file_ = -1;
  int64_t size_ = 0;  // of the whole records
  bool torn_ = false;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_APPEND_FILE_H_
