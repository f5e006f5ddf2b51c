#include "client/flags.h"

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/credentials.h"

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

// One that the environment may give too.
void AddFile(CLI::App& app, const char* name, std::string& file, const char* variable,
             const char* help, const char* type = "FILE") {
  app.add_option(name, file, help)->type_name(type)->envname(variable);
}

void AddCredentialFlags(CLI::App& app, CredentialFlags& flags) {
  app.add_flag("--tls", flags.tls,
               "Over TLS, with this machine's authorities; so do all --tls-...");
  AddFile(app, "--tls-ca", flags.tls_ca, "DEWEATHER_TLS_CA", "PEM: authorities of the server");
  AddFile(app, "--tls-cert", flags.tls_cert, "DEWEATHER_TLS_CERT", "PEM: our own certificate");
  AddFile(app, "--tls-key", flags.tls_key, "DEWEATHER_TLS_KEY", "PEM: its key");
  AddFile(app, "--tls-name", flags.tls_name, "DEWEATHER_TLS_NAME",
          "That the server's certificate is for [the host of --server]", "NAME");
  AddFile(app, "--token-file", flags.token_file, "DEWEATHER_TOKEN_FILE", "The token that we show");
  app.add_flag("--token-over-plaintext", flags.token_over_plaintext,
               "Show it to other machines without TLS too");
}

// Of the environment's values too, which CLI11 would leave out in silence if a check of its own failed.
void CheckServerFlags(const CredentialFlags& files, ServerFlags* flags) {
  const absl::Status status = CheckAddress(flags->server);
  if (!status.ok()) throw CLI::ValidationError("--server", std::string(status.message()));
  absl::StatusOr<Credentials> credentials = ReadCredentials(files, flags->server);
  if (!credentials.ok()) throw CLI::ValidationError(std::string(credentials.status().message()));
  flags->credentials = *std::move(credentials);
}

}  // namespace

void AddServerFlags(CLI::App& app, ServerFlags& flags, const std::string& what) {
  app.add_option("--server", flags.server, "Where the server listens")
      ->type_name("HOST:PORT")
      ->envname("DEWEATHER_SERVER")
      ->capture_default_str();
  const auto files = std::make_shared<CredentialFlags>();
  AddCredentialFlags(app, *files);
  app.parse_complete_callback([&flags, files] { CheckServerFlags(*files, &flags); });
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
