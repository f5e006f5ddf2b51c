#include "training/jobs/line_tail.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "model/base/file.h"
#include "training/jobs/job_json.h"

namespace deweather {

std::string OneLine(std::string_view text) {
  std::string line = ToUtf8(std::string(text.substr(0, kMaxShownBytes)));
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return line;
}

LineTail::~LineTail() {
  if (file_ >= 0) close(file_);
}

LineTail::Look LineTail::Read() {
  Look look{.other_file = Reopen()};
  if (file_ < 0) return look;
  const std::string text = ReadAt(file_, offset_, kMaxLookBytes);
  look.more = static_cast<int64_t>(text.size()) == kMaxLookBytes;
  TakeLines(text, look.lines);
  return look;
}

// Whether another file is at the path, or ours was cut: it is read from the beginning then. Ours is held
// open, so that no other one can have its number.
bool LineTail::Reopen() {
  struct stat there = {};
  if (stat(path_.c_str(), &there) != 0 || Follows(there)) return false;
  const int file = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return false;
  if (fstat(file, &there) != 0 || !S_ISREG(there.st_mode)) {
    close(file);
    return false;
  }
  if (file_ >= 0) close(file_);
  file_ = file;
  offset_ = 0;
  in_long_line_ = false;
  return true;
}

bool LineTail::Follows(const struct stat& there) const {
  struct stat ours = {};
  return file_ >= 0 && fstat(file_, &ours) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino && ours.st_size >= offset_;
}

// A rest that is longer than a line may be is given up, so that it is not read again and again.
void LineTail::TakeLines(std::string_view text, std::vector<std::string>& lines) {
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
    const bool whole = !std::exchange(in_long_line_, false);
    if (whole && end <= kMaxLineBytes) lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
    offset_ += static_cast<int64_t>(end) + 1;
  }
  if (!in_long_line_ && text.size() <= kMaxLineBytes) return;
  in_long_line_ = true;
  offset_ += static_cast<int64_t>(text.size());
}

}  // namespace deweather
