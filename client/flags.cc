#include "client/flags.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

// "30s", "1m30s", "500ms"; longer than nothing.
std::string ParseTimeout(const std::string& text, absl::Duration* timeout) {
  absl::Duration parsed;
  const bool good = absl::ParseDuration(text, &parsed) && parsed > absl::ZeroDuration() &&
                    parsed <= absl::Hours(24);
  if (good) *timeout = parsed;
  return good ? "" : "'" + text + "' is no time: like 30s, 500ms or 2m, up to 24h";
}

}  // namespace

void AddServerFlags(CLI::App& app, ServerFlags& flags, const std::string& what) {
  app.add_option("--server", flags.server, "Where the server listens")
      ->type_name("HOST:PORT")
      ->envname("DEWEATHER_SERVER")
      ->capture_default_str();
  // Of the environment's too, which CLI11 would leave out in silence if a check of its own failed.
  app.parse_complete_callback([&flags] {
    const absl::Status status = CheckAddress(flags.server);
    if (!status.ok()) throw CLI::ValidationError("--server", std::string(status.message()));
  });
  const auto set_timeout = [&flags](const std::string& text) {
    const std::string error = ParseTimeout(text, &flags.timeout);
    if (!error.empty()) throw CLI::ValidationError("--timeout", error);
  };
  const std::string help =
      absl::StrCat("Longest time ", what, " [", absl::FormatDuration(flags.timeout), "]");
  app.add_option_function<std::string>("--timeout", set_timeout, help)->type_name("TIME");
}

void AddJson(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "Print one JSON object and nothing else");
}

void AddTime(CLI::App& app, const std::string& name, absl::Duration* time,
             const std::string& help) {
  const auto set = [name, time](const std::string& text) {
    if (absl::ParseDuration(text, time) && *time == absl::ZeroDuration()) return;
    const std::string error = ParseTimeout(text, time);
    if (!error.empty()) throw CLI::ValidationError(name, error);
  };
  app.add_option_function<std::string>(name, set, help)->type_name("TIME");
}

CLI::Option* AddText(CLI::App& app, const std::string& name, std::string& text,
                     const std::string& help) {
  return app.add_option(name, text, help)->check(CheckText);
}

std::string CheckText(const std::string& text) {
  return IsUtf8(text) ? "" : absl::StrCat("'", absl::CHexEscape(text), "' is no UTF-8");
}

}  // namespace deweather
