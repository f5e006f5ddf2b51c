// Follows a text file that another program appends to, or puts another file in place of: whole lines, each
// once a file. Whatever that program does, a look costs at most kMaxLookBytes.
//
// Skips    lines beyond kMaxLineBytes; what has no end yet is not a line
// Owns     a file descriptor
// Threads  thread-compatible
// Errors   none: a file that cannot be read says nothing

#ifndef DEWEATHER_TRAINING_JOBS_LINE_TAIL_H_
#define DEWEATHER_TRAINING_JOBS_LINE_TAIL_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deweather {

inline constexpr int64_t kMaxLookBytes = 1 << 20;
inline constexpr int64_t kMaxLineBytes = 64 << 10;

// `text` for people: one line of at most kMaxShownBytes, in UTF-8 whatever it was before.
inline constexpr size_t kMaxShownBytes = 1024;
std::string OneLine(std::string_view text);

class LineTail {
 public:
  struct Look {
    // The lines are of another file than those before, from its beginning on.
    bool other_file = false;
    bool more = false;  // of the file is there already
    std::vector<std::string> lines = {};
  };

  explicit LineTail(std::string path) : path_(std::move(path)) {}
  ~LineTail();
  LineTail(const LineTail&) = delete;
  LineTail& operator=(const LineTail&) = delete;

  // The lines that came to their end since the last look.
  Look Read();

 private:
  bool Reopen();
  bool Follows(const struct stat& there) const;
  void TakeLines(std::string_view text, std::vector<std::string>& lines);

  const std::string path_;
  int file_ = -1;
  int64_t offset_ = 0;
  bool in_long_line_ = false;  // at offset_
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_LINE_TAIL_H_
