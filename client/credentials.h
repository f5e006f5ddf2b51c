// Who a server is and who a caller is: PEM and a token, out of the files that flags name.

#ifndef DEWEATHER_CLIENT_CREDENTIALS_H_
#define DEWEATHER_CLIENT_CREDENTIALS_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deweather {

// Takes one line for people, without its end.
using Say = std::function<void(const std::string& line)>;
void SayOnStderr(const std::string& line);

// Empty: not given.
struct CredentialFlags {
  bool tls = false;  // with the system's authorities; any other flag of TLS means TLS too
  std::string tls_ca = {};
  std::string tls_cert = {};
  std::string tls_key = {};
  std::string tls_name = {};
  std::string token_file = {};
  std::string token = {};  // itself, not with token_file: of programs, as every user sees flags
  bool token_over_plaintext = false;
  Say say = SayOnStderr;  // what does not keep a file from being used
};

// What is in those files. Texts are PEM.
struct Credentials {
  bool tls = false;
  std::string ca = {};           // of the authorities that a server's certificate may be of
  std::string ca_file = {};      // where they are from
  std::string certificate = {};  // the caller's; empty: none
  std::string key = {};
  std::string name = {};   // that the server's certificate is for; empty: the host
  std::string token = {};  // empty: none
};

// HOST of HOST:PORT, without the brackets of an IPv6 address.
std::string_view HostOf(std::string_view server);

// Whether HOST:PORT is this machine and no other: 127.0.0.0/8, [::1] or localhost.
bool IsLoopback(std::string_view server);

// Warns of a key or a token that every user of the machine may read.
//
// Errors   INVALID_ARGUMENT, naming the flag: a file that cannot be read or does not hold what it is for, a
//          certificate without its key or with another's; a token that would cross a network in the clear
absl::StatusOr<Credentials> ReadCredentials(const CredentialFlags& flags, std::string_view server);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CREDENTIALS_H_
