// A file that a call makes.

#ifndef DEWEATHER_CLIENT_CPP_OUTPUT_FILE_H_
#define DEWEATHER_CLIENT_CPP_OUTPUT_FILE_H_

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace deweather {

// `path`, where a new file may be renamed to: what a link names is replaced, not the link. Throws
// kFailedPrecondition if something else than a regular file is there, such as a folder or a device.
std::string FileToReplace(const std::string& path);

// Is there when it is whole.
//
// Threads  thread-compatible
// Errors   what errno says of the disk
class OutputFile {
 public:
  // Throws as FileToReplace.
  explicit OutputFile(const std::string& path);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  // Empty again.
  absl::Status Begin();
  // REQUIRES: begun.
  absl::Status Append(std::string_view piece);
  absl::Status Commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  absl::Status Failed() const;

  const std::string path_, part_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CPP_OUTPUT_FILE_H_
