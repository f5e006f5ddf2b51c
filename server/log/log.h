// The server's log: where spdlog's lines go, and lines that tell more than a message.
//
// Owns     spdlog's default logger, which stays when a Log goes
// Threads  a Log is thread-compatible; who logs is on any thread, and never waits for who reads the log
// Errors   none: a log that cannot be written stops nothing

#ifndef DEWEATHER_SERVER_LOG_LOG_H_
#define DEWEATHER_SERVER_LOG_LOG_H_

#include <spdlog/common.h>

#include <memory>
#include <string_view>

#include "model/base/server_options.h"
#include "server/log/log_line.h"

namespace deweather {

class LineSink;

class Log {
 public:
  // From now on spdlog writes to `file`, as Configure says of LogOptions' defaults.
  explicit Log(int file);
  // Gives the last lines a second.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // The environment's SPDLOG_LEVEL overrides the level.
  void Configure(const LogOptions& options);

  bool json() const;

 private:
  const int file_;
  const std::shared_ptr<LineSink> sink_;
};

// Gives what was logged a second to be written.
void FlushLog();

// A line of the default logger that has fields.
void LogWith(spdlog::level::level_enum level, std::string_view message, const LogFields& fields);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_LOG_LOG_H_
