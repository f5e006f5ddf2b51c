// One TLS handshake with a server, and what it showed.

#ifndef DEWEATHER_CLIENT_TLS_PROBE_H_
#define DEWEATHER_CLIENT_TLS_PROBE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/credentials.h"
#include "client/dial.h"

namespace deweather {

// What a client sends first over HTTP/2: the preface and SETTINGS without any.
inline constexpr std::string_view kHttp2Greeting{
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33};

// Whether bytes begin with a frame of SETTINGS, as a server's do.
bool IsHttp2(std::string_view bytes);

struct TlsSight {
  // What the server began with; its first byte tells TLS from other protocols.
  std::string first_bytes;
  bool shook_hands = false;
  // Why the server's certificate is not trusted, in words; empty: it is.
  std::string distrust;
  bool chose_http2 = false;
  // Whether it asked for a certificate of the caller, and the authorities that it would take one of.
  bool wants_certificate = false;
  std::vector<std::string> authorities;
  // Whether it answered the greeting, which it does not to a caller whose certificate it refuses.
  bool answered = false;
  // Of the server, if it said one: "unknown ca", "certificate expired".
  std::string alert;
  // Of the connection.
  absl::Status status;
};

// Goes on after a certificate that is not trusted: nothing but the greeting is sent.
TlsSight LookThroughTls(Connection connection, const Credentials& credentials,
                        const std::string& host);

// Of the caller's own certificate.
struct OwnCertificate {
  std::string issuer;
  std::string problem;  // "expired on 2026-01-02 03:04 UTC"; empty: none that its dates tell
};
OwnCertificate LookAtOwn(const std::string& pem);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_TLS_PROBE_H_
