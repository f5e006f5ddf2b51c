// A file that arrives in pieces, over several runs of the program if need be. Its name holds the whole file
// or none: what has arrived lies in FILE.part, and FILE.part.sha256 says of which file that is the beginning.

#ifndef DEWEATHER_CLIENT_PART_FILE_H_
#define DEWEATHER_CLIENT_PART_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

inline constexpr size_t kSha256Digits = 64;

// Threads  thread-compatible
// Errors   what errno says of the disk; DATA_LOSS
class PartFile {
 public:
  // What an earlier run left of `path` is taken up. Its folder is there.
  static absl::StatusOr<PartFile> Open(const std::string& path);

  int64_t bytes() const { return bytes_; }
  // Of the whole file; empty: not yet known.
  const std::string& sha256() const { return sha256_; }

  // Forgets what has arrived; the file that begins now has this SHA-256, of 64 digits.
  absl::Status Restart(const std::string& sha256);

  // Leaves no trace.
  void Forget();

  // REQUIRES: sha256() is known.
  absl::Status Append(std::string_view piece);

  // It is whole: puts it in its place. DATA_LOSS if it is not the file of `sha256`; it is forgotten then.
  // REQUIRES: as Append.
  absl::Status Commit();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  explicit PartFile(std::string path) : path_(std::move(path)), part_(path_ + ".part") {}

  std::string path_, part_;
  std::string sha256_;
  int64_t bytes_ = 0;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_PART_FILE_H_
