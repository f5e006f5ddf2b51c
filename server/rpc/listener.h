// Accepts connections for a gRPC server, so many at a time and no more.
// gRPC's own listener has no limit.
// Who has been handed over belongs to gRPC. Whether it is still open is asked of the system: a descriptor that is
// closed, or another file's by now, has another inode.
//
// Owns     the listening sockets, and the thread that accepts
// Threads  thread-safe
// Errors   Listen's (address.h)
// Cost     a connection 10 µs; at the limit one fstat for each that is open, at most each 10 ms

#ifndef DEWEATHER_SERVER_RPC_LISTENER_H_
#define DEWEATHER_SERVER_RPC_LISTENER_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/stopwatch.h"
#include "server/rpc/address.h"

namespace deweather {

class Listener {
 public:
  // Takes a connected socket that does not block, and closes it in the end.
  using HandOver = std::function<void(int fd)>;

  // REQUIRES: max_connections > 0.
  static absl::StatusOr<std::unique_ptr<Listener>> Start(const std::string& address,
                                                         int max_connections, HandOver hand_over);
  ~Listener();

  // Closes the listening sockets; hands nothing over any more once it has returned.
  void Stop();

  int port() const { return port_; }
  // Connections that are open now.
  int CountOpen();
  // That found max_connections open, and were closed.
  int64_t refused() const { return refused_; }

 private:
  Listener(ListeningSockets listening, int wake, int max_connections, HandOver hand_over);

  void Run();
  bool WaitForCallers(absl::Duration time);
  // Not endlessly: a flood of callers shall hold up nothing. False if the system has nothing left for another one.
  bool AcceptFrom(int socket);
  bool Admit(int fd);
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<int> sockets_;
  const int port_;
  const size_t max_connections_;
  const HandOver hand_over_;
  const int wake_;  // an eventfd: readable once it is to stop
  std::atomic<int64_t> refused_ = 0;
  Mutex mutex_;
  std::unordered_map<int, ino_t> open_ ABSL_GUARDED_BY(mutex_);  // by descriptor; some have closed
  Stopwatch last_look_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_LISTENER_H_
