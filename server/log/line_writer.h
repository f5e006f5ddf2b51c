// Lines to a file, a pipe or a terminal, written by a thread of their own: who logs never waits for who reads.
// Lines keep their order. What finds no room is lost, and a line in its place says how many were.
//
// Owns     its thread, and what waits to be written: max_bytes, and as much again while it is written
// Threads  thread-safe
// Errors   what cannot be written is dropped: there is nobody to tell
// Cost     a line is copied and the thread is woken

#ifndef DEWEATHER_SERVER_LOG_LINE_WRITER_H_
#define DEWEATHER_SERVER_LOG_LINE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace deweather {

struct LineWriterOptions {
  size_t max_bytes = size_t{1} << 20;  // that wait
  // The line that stands for so many that are lost. Called under the writer's lock.
  std::function<std::string(int64_t lines)> gap = {};
};

class LineWriter {
 public:
  // `file` is the caller's, and stays open.
  LineWriter(int file, LineWriterOptions options);
  // Gives what waits a second to be written; the rest is lost.
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` ends in a newline.
  void Write(std::string_view line);

  // Whether all that was given to Write has been written within `timeout`.
  bool Flush(absl::Duration timeout);

 private:
  struct Shared;

  static void Loop(const std::shared_ptr<Shared>& shared);

  const std::shared_ptr<Shared> shared_;  // the thread's too, which may outlive the writer
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_LOG_LINE_WRITER_H_
