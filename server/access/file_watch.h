// Files that are read again and again, so that what is in them can change while the program runs.

#ifndef DEWEATHER_SERVER_ACCESS_FILE_WATCH_H_
#define DEWEATHER_SERVER_ACCESS_FILE_WATCH_H_

#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/mutex.h"

namespace deweather {

// A file with more is refused.
inline constexpr size_t kMaxWatchedBytes = size_t{1} << 20;

// All of a file that is no larger; opens nothing that could block. Errors name the file.
absl::StatusOr<std::string> ReadWatchedFile(const std::string& path);

// Of each file, in the order of the paths: what is in it, or why it cannot be read.
using FileContents = std::vector<absl::StatusOr<std::string>>;

FileContents ReadWatchedFiles(const std::vector<std::string>& paths);

// Reads files every 0.5 s, and tells when they are not what they were. A file that is being written is not
// told of: what differs is read twice, 50 ms apart, and nothing may change meanwhile. One that has not come to
// rest within a second is told of as it is found.
//
// Owns     its thread
// Threads  thread-safe, but for the destructor
class FileWatch {
 public:
  // Whether they can be used.
  using OnContents = std::function<bool(const FileContents&)>;

  // A minute.
  static constexpr int kLooksUntilAgain = 120;

  // `last` is what was read before: all that differs is told of. `on_contents` runs on the watch's thread.
  // Of what cannot be used it is told again after so many looks.
  FileWatch(std::vector<std::string> paths, FileContents last, OnContents on_contents,
            int looks_until_again = kLooksUntilAgain);
  ~FileWatch();

  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // Reads them now, and tells even if nothing differs.
  void ReadNow();

 private:
  void Watch();
  // Whether it was woken by ReadNow.
  bool Wait();
  // What they hold, once it stays the same for a moment; waits a second for that, or until the object ends.
  FileContents ReadSettled();
  bool stopped() const;

  const std::vector<std::string> paths_;
  FileContents last_;    // the thread's
  bool usable_ = true;   // the thread's; `last_`, so far as it was told of
  int looks_since_ = 0;  // the thread's; since it told
  const OnContents on_contents_;
  const int looks_until_again_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool read_now_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_ACCESS_FILE_WATCH_H_
