// One line of the log: text for people, or a JSON object for programs.
// Whatever a message holds, it stays one line, and is told from the fields: control characters and bytes that are
// no UTF-8 are escaped or replaced.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_LOG_LOG_LINE_H_
#define DEWEATHER_SERVER_LOG_LOG_LINE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace deweather {

// What a line tells beside its message.
struct LogField {
  std::string_view name;  // lives as long as the program
  std::variant<std::string, int64_t, double> value;
};
using LogFields = std::vector<LogField>;

struct LogRecord {
  absl::Time time;
  std::string_view level;
  std::string_view message;
  const LogFields* fields = nullptr;  // may be null
};

// {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"...", fields}, all of it ASCII, and its newline.
std::string JsonLine(const LogRecord& record);

// TIME LEVEL MESSAGE NAME=VALUE ..., in the machine's time zone, and its newline. A message before fields is in
// quotes where it has spaces, as values are.
std::string TextLine(const LogRecord& record, bool colour);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_LOG_LOG_LINE_H_
