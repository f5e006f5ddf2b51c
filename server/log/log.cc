#include "server/log/log.h"

#include <spdlog/cfg/env.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "server/log/line_writer.h"

namespace deweather {
namespace {

constexpr absl::Duration kLastLines = absl::Seconds(1);

// Of the line that this thread logs; spdlog has no place for them.
thread_local const LogFields* fields_of_line = nullptr;

spdlog::level::level_enum LevelOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string_view View(spdlog::string_view_t text) { return {text.data(), text.size()}; }

}  // namespace

// Threads  thread-safe
class LineSink final : public spdlog::sinks::sink {
 public:
  explicit LineSink(int file)
      : writer_(file, {.gap = [this](int64_t lines) { return Gap(lines); }}) {}

  void Configure(bool json, bool colour) {
    json_ = json;
    colour_ = colour;
  }
  bool json() const { return json_; }

  void log(const spdlog::details::log_msg& message) override {
    writer_.Write(Line({.time = absl::FromChrono(message.time),
                        .level = View(spdlog::level::to_string_view(message.level)),
                        .message = View(message.payload),
                        .fields = fields_of_line}));
  }
  void flush() override { writer_.Flush(kLastLines); }
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  std::string Line(const LogRecord& record) const {
    return json_ ? JsonLine(record) : TextLine(record, colour_);
  }
  std::string Gap(int64_t lines) const {
    const LogFields fields = {{"lost", lines}};
    return Line({.time = absl::Now(),
                 .level = "warning",
                 .message = "lines are lost here: nobody read the log",
                 .fields = &fields});
  }

  std::atomic<bool> json_ = false;
  std::atomic<bool> colour_ = false;
  LineWriter writer_;  // last: it may call Gap
};

Log::Log(int file) : file_(file), sink_(std::make_shared<LineSink>(file)) {
  auto logger = std::make_shared<spdlog::logger>("deweather-server", sink_);
  logger->set_error_handler(
      [](const std::string&) {});  // spdlog's own would print a line beside ours
  spdlog::set_default_logger(std::move(logger));
  Configure({});
}

Log::~Log() { sink_->flush(); }

void Log::Configure(const LogOptions& options) {
  const bool terminal = isatty(file_) != 0;
  const bool automatic = options.format == LogFormat::kAuto;
  sink_->Configure(automatic ? !terminal : options.format == LogFormat::kJson, terminal);
  spdlog::set_level(LevelOf(options.level));
  spdlog::cfg::load_env_levels();
}

bool Log::json() const { return sink_->json(); }

void FlushLog() { spdlog::default_logger()->flush(); }

void LogWith(spdlog::level::level_enum level, std::string_view message, const LogFields& fields) {
  fields_of_line = &fields;
  spdlog::log(level, spdlog::string_view_t(message.data(), message.size()));
  fields_of_line = nullptr;
}

}  // namespace deweather
