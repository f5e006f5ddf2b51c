#include "server/http/connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace deweather {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kMaxAheadBytes = 64 * 1024;
constexpr size_t kWriteBytes = 256 * 1024;

// For a caller to read a reply that it did not wait for, and for TLS' goodbye.
constexpr absl::Duration kGoodbye = absl::Seconds(2);

std::string PeerOf(const tcp::socket& socket) {
  error_code error;
  const tcp::endpoint remote = socket.remote_endpoint(error);
  if (error) return "unknown";
  const std::string address = remote.address().to_string(error);
  return remote.address().is_v4() ? absl::StrCat("ipv4:", address, ":", remote.port())
                                  : absl::StrCat("ipv6:[", address, "]:", remote.port());
}

}  // namespace

Connection::Connection(const asio::any_io_executor& strand, int fd,
                       std::shared_ptr<asio::ssl::context> tls)
    : context_(std::move(tls)), plain_(strand), deadline_(strand), moved_(strand) {
  error_code ignored;
  plain_.assign(tcp::v4(), fd, ignored);  // the family matters to nothing that is done with it
  plain_.set_option(tcp::no_delay(true), ignored);
  peer_ = PeerOf(plain_);
  if (context_ == nullptr) return;
  tls_stream_ = std::make_unique<asio::ssl::stream<Socket>>(std::move(plain_), *context_);
}

// `late` is called unless there is another deadline, or none, before.
void Connection::SetDeadline(absl::Time deadline, std::function<void()> late) {
  late_ = std::move(late);
  if (deadline == absl::InfiniteFuture()) return ClearDeadline();
  deadline_.expires_after(absl::ToChronoNanoseconds(deadline - absl::Now()));
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    const bool past = self->deadline_.expiry() <= std::chrono::steady_clock::now();
    if (!error && past && self->late_) std::exchange(self->late_, nullptr)();
  });
}

void Connection::ClearDeadline() {
  late_ = nullptr;
  deadline_.cancel();
}

asio::awaitable<bool> Connection::Handshake(absl::Duration limit) {
  if (tls_stream_ == nullptr) co_return true;
  SetDeadline(absl::Now() + limit, [this] { Abort(); });
  error_code error;
  co_await tls_stream_->async_handshake(asio::ssl::stream_base::server,
                                        asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

void Connection::StartRead() {
  if (reading_ || ended_) return;
  reading_ = true;
  if (incoming_.size() != next_read_bytes_) incoming_ = std::vector<char>(next_read_bytes_);
  const auto done = [self = shared_from_this()](error_code error, size_t bytes) {
    self->OnRead(bytes, static_cast<bool>(error));
  };
  const asio::mutable_buffer space = asio::buffer(incoming_);
  tls_stream_ != nullptr ? tls_stream_->async_read_some(space, done)
                         : plain_.async_read_some(space, done);
}

void Connection::OnRead(size_t bytes, bool failed) {
  reading_ = false;
  ended_ = ended_ || failed;
  pending_.append(incoming_.data(), bytes);
  if (bytes == incoming_.size()) next_read_bytes_ = kReadBytes;
  moved_.Raise();
  if (!gone_) return;
  if (ended_) return std::exchange(gone_, nullptr)();
  if (pending_.size() < kMaxAheadBytes) StartRead();
}

asio::awaitable<Connection::Came> Connection::Fill(absl::Time deadline) {
  const size_t before = pending_.size();
  bool late = false;
  SetDeadline(deadline, [this, &late] {
    late = true;
    moved_.Raise();
  });
  StartRead();
  while (pending_.size() == before && !ended_ && !late && !woken_) co_await moved_.Wait();
  ClearDeadline();
  woken_ = false;
  if (pending_.size() > before) co_return Came::kBytes;
  co_return ended_ ? Came::kEnd : Came::kNothing;
}

void Connection::Wake() {
  woken_ = true;
  moved_.Raise();
}

void Connection::Watch(std::function<void()> gone) {
  next_read_bytes_ = kFirstReadBytes;  // a connection that is idle afterwards shall not hold much
  if (ended_) return gone();
  gone_ = std::move(gone);
  if (pending_.size() < kMaxAheadBytes) StartRead();
}

void Connection::StopWatching() {
  gone_ = nullptr;
  pending_.shrink_to_fit();
}

asio::awaitable<size_t> Connection::WriteSome(std::string_view bytes) {
  const asio::const_buffer some = asio::buffer(bytes.data(), std::min(bytes.size(), kWriteBytes));
  error_code error;
  size_t written = 0;
  if (tls_stream_ != nullptr) {
    written = co_await tls_stream_->async_write_some(
        some, asio::redirect_error(asio::use_awaitable, error));
  } else {
    written =
        co_await plain_.async_write_some(some, asio::redirect_error(asio::use_awaitable, error));
  }
  co_return error ? 0 : written;
}

asio::awaitable<bool> Connection::Write(std::string_view bytes, Pace& pace) {
  while (!bytes.empty()) {
    SetDeadline(pace.deadline(), [this] { Abort(); });
    const size_t written = co_await WriteSome(bytes);
    ClearDeadline();
    if (written == 0) co_return false;
    bytes.remove_prefix(written);
    pace.Moved(static_cast<int64_t>(written), absl::Now());
  }
  co_return true;
}

// What was written would be lost if the socket was closed while something is unread.
asio::awaitable<void> Connection::Linger() {
  error_code ignored;
  socket().shutdown(tcp::socket::shutdown_send, ignored);
  while (reading_) co_await moved_.Wait();
  char rest[4096];
  for (bool open = !ended_; open;) {
    error_code error;
    const size_t read = co_await socket().async_read_some(
        asio::buffer(rest), asio::redirect_error(asio::use_awaitable, error));
    open = !error && read > 0;
  }
}

asio::awaitable<void> Connection::Close() {
  SetDeadline(absl::Now() + kGoodbye, [this] { Abort(); });
  if (tls_stream_ != nullptr && !ended_) {
    error_code ignored;
    co_await tls_stream_->async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_await Linger();
  ClearDeadline();
  Abort();
}

void Connection::Abort() {
  ended_ = true;
  error_code ignored;
  socket().close(ignored);
  moved_.Raise();
}

}  // namespace deweather
