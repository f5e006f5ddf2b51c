#include "client/diagnose.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/dial.h"
#include "client/tls_probe.h"

namespace deweather {
namespace {

// For a server at its limit to close a connection that it does not take.
constexpr absl::Duration kTimeToClose = absl::Milliseconds(500);

constexpr char kTlsRecord = '\x16';
constexpr char kTlsAlert = '\x15';

// gRPC goes through one that the environment names.
bool HasProxy(const std::string& server) {
  if (IsLoopback(server)) return false;
  for (const char* const name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return true;
  }
  return false;
}

std::string NoConnection(const std::string& server, const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return absl::StrFormat("the name of %s has no address: %s", server, status.message());
    case absl::StatusCode::kDeadlineExceeded:
      return absl::StrFormat(
          "%s does not answer: a wrong address, a firewall, or a machine that is "
          "off",
          server);
    default:
      return absl::StrFormat("cannot connect to %s: %s", server, status.message());
  }
}

// What the server says to somebody who greets it without TLS. DEADLINE_EXCEEDED: nothing.
absl::StatusOr<std::string> GreetInTheClear(Connection connection) {
  std::string said;
  absl::Status status = connection.Send(kHttp2Greeting);
  while (status.ok() && said.size() < 9) {
    const absl::StatusOr<std::string> more = connection.Receive();
    status = more.status();
    if (!more.ok() || more->empty()) break;
    said += *more;
  }
  if (said.empty() && absl::IsDeadlineExceeded(status)) return status;
  return said;
}

bool SpeaksTls(const std::string& server, absl::Time deadline) {
  absl::StatusOr<Connection> connection = Connection::Dial(server, deadline);
  if (!connection.ok()) return false;
  const TlsSight sight = LookThroughTls(*std::move(connection), {}, std::string(HostOf(server)));
  return sight.first_bytes.starts_with(kTlsRecord);
}

// That it hangs up on a caller who has not said a word; empty: it does not.
std::string HangsUp(const std::string& server, absl::Time deadline) {
  absl::StatusOr<Connection> connection =
      Connection::Dial(server, std::min(deadline, absl::Now() + kTimeToClose));
  if (!connection.ok()) return "";
  const absl::StatusOr<std::string> said = connection->Receive();
  if (said.ok() ? !said->empty() : absl::IsDeadlineExceeded(said.status())) return "";
  return absl::StrCat(server,
                      " closes connections as soon as they are made: it has as many as it takes "
                      "(limits.max_connections), or goes down");
}

std::string Silent(const std::string& server) {
  return absl::StrFormat("%s takes connections and says nothing: no gRPC, or a server that hangs",
                         server);
}

// A server may close the connection without the alert that tells TLS.
std::string DiagnoseInTheClear(const std::string& server, Connection connection,
                               absl::Time deadline) {
  const absl::StatusOr<std::string> said = GreetInTheClear(std::move(connection));
  if (!said.ok()) return Silent(server);
  if (IsHttp2(*said)) return "";
  if (said->starts_with(kTlsAlert) || (said->empty() && SpeaksTls(server, deadline))) {
    return absl::StrFormat("%s speaks TLS: --tls, or --tls-ca FILE with its authority, is missing",
                           server);
  }
  if (said->starts_with("HTTP/")) return absl::StrCat(server, " speaks HTTP/1 and no gRPC");
  return said->empty() ? HangsUp(server, deadline) : absl::StrCat(server, " speaks no gRPC");
}

std::string WithoutTls(const std::string& server, absl::Time deadline) {
  absl::StatusOr<Connection> connection = Connection::Dial(server, deadline);
  absl::StatusOr<std::string> said;
  if (connection.ok()) said = GreetInTheClear(*std::move(connection));
  if (said.ok() && IsHttp2(*said)) {
    return absl::StrFormat(
        "%s speaks gRPC without TLS: the flags --tls... (or the environment's "
        "DEWEATHER_TLS_...) are too much",
        server);
  }
  return absl::StrCat(server, " speaks no TLS");
}

// A server that has shaken hands and then hangs up.
std::string OwnRefused(const TlsSight& sight, const Credentials& credentials) {
  if (credentials.certificate.empty()) {
    return "the server wants a certificate of the caller: --tls-cert FILE and --tls-key FILE";
  }
  const OwnCertificate own = LookAtOwn(credentials.certificate);
  const std::string said = sight.alert.empty() ? "" : absl::StrCat(" (", sight.alert, ")");
  if (!own.problem.empty()) {
    return absl::StrCat("the server refuses the certificate of --tls-cert, which ", own.problem,
                        said);
  }
  return absl::StrFormat(
      "the server refuses the certificate of --tls-cert, which is of the authority "
      "%s; it takes those of %s%s",
      own.issuer, sight.authorities.empty() ? "others" : absl::StrJoin(sight.authorities, ", "),
      said);
}

std::string DiagnoseTls(const ServerFlags& flags, Connection connection, absl::Time deadline) {
  const Credentials& credentials = flags.credentials;
  const std::string host =
      credentials.name.empty() ? std::string(HostOf(flags.server)) : credentials.name;
  const TlsSight sight = LookThroughTls(std::move(connection), credentials, host);
  const bool began = sight.first_bytes.starts_with(kTlsRecord);
  if (!began && absl::IsDeadlineExceeded(sight.status)) return Silent(flags.server);
  if (!began && !sight.first_bytes.starts_with(kTlsAlert)) {
    const std::string hangs_up =
        sight.first_bytes.empty() ? HangsUp(flags.server, deadline) : std::string();
    return hangs_up.empty() ? WithoutTls(flags.server, deadline) : hangs_up;
  }
  if (!sight.distrust.empty()) return sight.distrust;
  if (sight.answered) {
    return sight.chose_http2 ? ""
                             : absl::StrCat(flags.server, " speaks TLS, but no HTTP/2 over it");
  }
  if (sight.wants_certificate) return OwnRefused(sight, credentials);
  if (!sight.alert.empty())
    return absl::StrCat(flags.server, " refuses TLS with us: ", sight.alert);
  return sight.shook_hands ? "" : absl::StrCat(flags.server, " ended the TLS handshake");
}

// Adds what the server does not know: our flags.
std::string TokenAdvice(const std::string& reason) {
  if (reason == "TOKEN_MISSING") return "; --token-file FILE (or DEWEATHER_TOKEN_FILE) sends one";
  return reason == "TOKEN_UNKNOWN" ? "; it is that of --token-file" : "";
}

// gRPC's words for a message beyond a limit of the server's, other than ours often 4 MiB; empty: none of them.
std::string SizeText(const absl::Status& status) {
  const std::string_view message(status.message().data(), status.message().size());
  const size_t at = message.find("larger than max (");
  uint64_t bytes = 0;
  uint64_t most = 0;
  if (at == std::string_view::npos ||
      std::sscanf(std::string(message.substr(at)).c_str(),
                  "larger than max (%" SCNu64 " vs. %" SCNu64, &bytes, &most) != 2) {
    return "";
  }
  return absl::StrFormat("a message of %d bytes is more than the %d that are taken", bytes, most);
}

}  // namespace

std::string Diagnose(const ServerFlags& flags, absl::Duration time) {
  if (HasProxy(flags.server)) return "";
  const absl::Time deadline = absl::Now() + time;
  absl::StatusOr<Connection> connection = Connection::Dial(flags.server, deadline);
  if (!connection.ok()) return NoConnection(flags.server, connection.status());
  if (flags.credentials.tls) return DiagnoseTls(flags, *std::move(connection), deadline);
  return DiagnoseInTheClear(flags.server, *std::move(connection), deadline);
}

absl::Status Explained(const ServerFlags& flags, const grpc::Status& status) {
  const absl::Status plain = FromGrpc(status);
  const std::string reason = ReasonOf(status);
  if (absl::IsUnauthenticated(plain)) {
    return absl::UnauthenticatedError(absl::StrCat(plain.message(), TokenAdvice(reason)));
  }
  if (!reason.empty()) return plain;
  if (absl::IsResourceExhausted(plain)) {
    const std::string size = SizeText(plain);
    return size.empty() ? plain : absl::ResourceExhaustedError(size);
  }
  if (!absl::IsUnavailable(plain)) return plain;
  const std::string seen = Diagnose(flags);
  return seen.empty() ? plain : absl::UnavailableError(seen);
}

RetryOptions PatientWith(const ServerFlags& flags) {
  return {.patience = flags.timeout,
          .words = [flags](const grpc::Status& status) { return Explained(flags, status); }};
}

}  // namespace deweather
