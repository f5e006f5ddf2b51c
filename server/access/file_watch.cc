#include "server/access/file_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/base/stopwatch.h"

namespace deweather {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(500);

// Between two readings that must agree.
constexpr absl::Duration kSettle = absl::Milliseconds(50);

// What keeps changing for so long is taken as it is found.
constexpr absl::Duration kUnsettled = absl::Seconds(1);

// When each file was last changed, and which file it was; 0: there is none.
using Changes = std::vector<std::pair<int64_t, int64_t>>;

Changes LastChanges(const std::vector<std::string>& paths) {
  Changes changes;
  for (const std::string& path : paths) {
    struct stat info = {};
    stat(path.c_str(), &info);
    changes.emplace_back(absl::ToUnixNanos(absl::TimeFromTimespec(info.st_ctim)), info.st_ino);
  }
  return changes;
}

}  // namespace

absl::StatusOr<std::string> ReadWatchedFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
  const absl::Cleanup close_file = [file] { close(file); };
  struct stat info = {};
  if (fstat(file, &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot look at '", path, "'"));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("'", path, "' is no file"));
  }
  DW_ASSIGN_OR_RETURN(std::string bytes, ReadMost(file, kMaxWatchedBytes + 1, path));
  if (bytes.size() <= kMaxWatchedBytes) return bytes;
  return absl::InvalidArgumentError(
      absl::StrFormat("'%s' has more than %d bytes", path, kMaxWatchedBytes));
}

FileContents ReadWatchedFiles(const std::vector<std::string>& paths) {
  FileContents contents;
  for (const std::string& path : paths) contents.push_back(ReadWatchedFile(path));
  return contents;
}

FileWatch::FileWatch(std::vector<std::string> paths, FileContents last, OnContents on_contents,
                     int looks_until_again)
    : paths_(std::move(paths)),
      last_(std::move(last)),
      on_contents_(std::move(on_contents)),
      looks_until_again_(looks_until_again),
      thread_([this] { Watch(); }) {}

FileWatch::~FileWatch() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void FileWatch::ReadNow() {
  MutexLock lock(mutex_);
  read_now_ = true;
  changed_.NotifyAll();
}

bool FileWatch::stopped() const {
  MutexLock lock(mutex_);
  return stopped_;
}

bool FileWatch::Wait() {
  const Stopwatch watch;
  MutexLock lock(mutex_);
  while (!stopped_ && !read_now_ && watch.elapsed() < kInterval) {
    changed_.WaitFor(mutex_, watch.LeftOf(kInterval));
  }
  return std::exchange(read_now_, false);
}

FileContents FileWatch::ReadSettled() {
  const Stopwatch watch;
  Changes changes = LastChanges(paths_);
  FileContents contents = ReadWatchedFiles(paths_);
  while (contents != last_ && watch.elapsed() < kUnsettled && !stopped()) {
    absl::SleepFor(kSettle);
    FileContents again = ReadWatchedFiles(paths_);
    Changes changes_again = LastChanges(paths_);
    if (again == contents && changes_again == changes) break;
    contents = std::move(again);
    changes = std::move(changes_again);
  }
  return contents;
}

void FileWatch::Watch() {
  while (!stopped()) {
    const bool asked = Wait();
    if (stopped()) return;
    FileContents contents = ReadSettled();
    const bool again = !usable_ && ++looks_since_ >= looks_until_again_;
    if (contents == last_ && !asked && !again) continue;
    last_ = std::move(contents);
    usable_ = on_contents_(last_);
    looks_since_ = 0;
  }
}

}  // namespace deweather
