// A connection, with TLS or without, whose every wait has an end.
// At most one read is under way, and it may run ahead: while a call is answered it tells whether the caller has
// gone, and what it reads is there for the next request.
//
// Owns     its socket
// Threads  thread-compatible: all of it on one strand

#ifndef DEWEATHER_SERVER_HTTP_CONNECTION_H_
#define DEWEATHER_SERVER_HTTP_CONNECTION_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/http/asio.h"
#include "server/http/event.h"
#include "server/http/pace.h"

namespace deweather {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  // Takes a connected socket that does not block. `tls` is null for plaintext.
  Connection(const boost::asio::any_io_executor& strand, int fd,
             std::shared_ptr<boost::asio::ssl::context> tls);

  // "ipv4:127.0.0.1:1234", as gRPC has it.
  const std::string& peer() const { return peer_; }
  bool tls() const { return context_ != nullptr; }

  // Of TLS. False: it failed, or took longer.
  boost::asio::awaitable<bool> Handshake(absl::Duration limit);

  // What has come and was not consumed.
  std::string_view pending() const { return pending_; }
  void Consume(size_t bytes) { pending_.erase(0, bytes); }

  enum class Came {
    kBytes,
    kNothing,
    kEnd
  };  // kNothing: until the deadline, or Wake; kEnd: it is closed
  // Waits for more than is pending. Not later than `deadline`.
  boost::asio::awaitable<Came> Fill(absl::Time deadline);
  // Ends the Fill that waits, or the next one.
  void Wake();

  // Calls `gone`, once, if the caller closes; until StopWatching. What comes meanwhile is pending, up to a limit,
  // behind which nothing is read.
  void Watch(std::function<void()> gone);
  void StopWatching();

  // All of it, as fast as `pace` wants. False: it is closed.
  boost::asio::awaitable<bool> Write(std::string_view bytes, Pace& pace);

  // Says goodbye. Who is still sending gets a moment to read what was written.
  boost::asio::awaitable<void> Close();
  // Without a word; whatever waits ends.
  void Abort();

 private:
  void StartRead();
  void OnRead(size_t bytes, bool failed);
  void SetDeadline(absl::Time deadline, std::function<void()> late);
  void ClearDeadline();
  boost::asio::awaitable<size_t> WriteSome(std::string_view bytes);
  boost::asio::awaitable<void> Linger();

  Socket& socket() { return tls_stream_ != nullptr ? tls_stream_->next_layer() : plain_; }

  const std::shared_ptr<boost::asio::ssl::context> context_;  // none: plaintext
  Socket plain_;
  std::unique_ptr<boost::asio::ssl::stream<Socket>> tls_stream_;
  std::string peer_;

  static constexpr size_t kFirstReadBytes = 4 * 1024;  // most requests have less

  boost::asio::steady_timer deadline_;
  std::function<void()> late_;
  Event moved_;  // what waits for bytes looks again
  std::vector<char> incoming_;
  size_t next_read_bytes_ = kFirstReadBytes;
  std::string pending_;
  bool reading_ = false;
  bool ended_ = false;  // nothing comes any more
  bool woken_ = false;
  std::function<void()> gone_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_CONNECTION_H_
