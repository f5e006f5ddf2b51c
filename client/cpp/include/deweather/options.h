// Whom a client talks to, and what a call may be told.

#ifndef DEWEATHER_OPTIONS_H_
#define DEWEATHER_OPTIONS_H_

#include <deweather/export.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace deweather {

struct ClientOptions {
  std::string server = "127.0.0.1:50051";  // HOST:PORT, an IPv6 host in brackets

  // Any of the tls_ files, or `tls` alone with this machine's authorities, makes it TLS. Files are PEM.
  bool tls = false;
  std::string tls_ca_file = {};    // authorities of the server's certificate
  std::string tls_cert_file = {};  // of this client, with its key
  std::string tls_key_file = {};
  std::string tls_name = {};  // that the server's certificate is for; empty: the host

  // Who calls: the token itself, or a file of it, which is read once. It goes without TLS to this machine alone,
  // unless it is allowed.
  std::string token = {};
  std::string token_file = {};
  bool token_over_plaintext = false;

  // Of one call with all its attempts; of what waits for a job or a file, how long the server may be away.
  std::chrono::milliseconds deadline = std::chrono::seconds(30);

  // Whether calls that change nothing are sent again when the server is away, a picture to another server when one
  // goes down, and watches and downloads go on after a lost connection.
  bool retries = true;

  // Takes a line for people where a call goes on by itself: a server that is away, a key that every user may read.
  // Empty: nobody listens. Called on the thread of the call.
  std::function<void(const std::string& line)> on_notice = {};
};

// A wish to end calls, which any number of calls may share. It cannot be taken back.
//
// Threads  thread-safe; copies are the same wish
class DEWEATHER_EXPORT Cancellation {
 public:
  Cancellation();

  // Calls in flight end within about a tenth of a second, with kCancelled.
  void Cancel() const noexcept;
  bool cancelled() const noexcept;

 private:
  friend struct CallWishes;
  std::shared_ptr<std::atomic<bool>> stop_;
};

// Of one call.
struct CallOptions {
  std::optional<std::chrono::milliseconds> deadline = {};  // instead of ClientOptions::deadline
  std::optional<Cancellation> cancellation = {};
  // In the server's log, and in errors; empty: a new one. At most 128 visible characters.
  std::string request_id = {};
};

}  // namespace deweather

#endif  // DEWEATHER_OPTIONS_H_
