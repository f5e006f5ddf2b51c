// HTTP in front of this process's own gRPC services: whatever comes becomes a call of theirs, so that tokens, quotas,
// admission, limits and the request log are theirs too.
//
// Owns     its listener, its connections and the threads that serve them
// Threads  thread-safe, but for the destructor

#ifndef DEWEATHER_SERVER_HTTP_HTTP_SERVER_H_
#define DEWEATHER_SERVER_HTTP_HTTP_SERVER_H_

#include <grpcpp/server.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "server/access/access.h"
#include "server/access/certificates.h"
#include "server/restore/occupancy.h"
#include "server/rpc/listener.h"
#include "server/rpc/request_log.h"

namespace deweather {

struct HttpServerParts {
  grpc::Server& server;  // the services; ends after this
  Occupancy& calls;      // a request is in it until its reply has been sent
  LimitOptions limits = {};
  AccessRule health = AccessRule::kAnyone;
  const Access* access = nullptr;                                  // none: there are no tokens
  RequestLog* requests = nullptr;                                  // of those that become no call
  std::shared_ptr<const LiveCertificates> certificates = nullptr;  // none: plaintext
  std::function<std::string()> metrics;  // in Prometheus' text format; called on any thread
};

class HttpServer {
 public:
  // Listen's errors (server/rpc/address.h).
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& listen,
                                                           const HttpServerParts& parts);
  ~HttpServer();  // stops
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Each connection ends with its next reply; others may come.
  void EndKeepAlive();
  // Takes no more connections, closes those that are idle, and each other one with its next reply. Idempotent.
  void BeginDrain();
  // Cancels what is left, and waits for that. REQUIRES: the gRPC server still runs. Idempotent.
  void Stop();

  const std::string& address() const { return address_; }  // HOST:PORT, port 0 resolved
  Listener& listener();
  // Of bodies that are in memory.
  int64_t held_bytes() const;

 private:
  struct State;
  HttpServer(std::unique_ptr<State> state, std::string address);

  const std::unique_ptr<State> state_;
  const std::string address_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_HTTP_SERVER_H_
