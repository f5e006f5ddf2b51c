#include "client/dial.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "client/credentials.h"
#include "model/base/c_owned.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using Addresses = COwned<addrinfo, freeaddrinfo>;

absl::Status ErrorOf(int error) {
  return absl::Status(absl::ErrnoToStatusCode(error), std::strerror(error));
}

absl::StatusOr<Addresses> Resolve(std::string_view server) {
  const std::string host(HostOf(server));
  const std::string port(server.substr(server.rfind(':') + 1));
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &wanted, &found);
  if (error == 0) return Addresses(found);
  return absl::NotFoundError(gai_strerror(error));
}

bool IsPassing(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

absl::StatusOr<Connection> Connection::Dial(std::string_view server, absl::Time deadline) {
  DW_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(server));
  absl::Status status = absl::NotFoundError("no address");
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    Connection connection(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                          deadline);
    status =
        connection.socket_ < 0 ? ErrorOf(errno) : connection.Connect(at->ai_addr, at->ai_addrlen);
    if (status.ok()) return connection;
  }
  return status;
}

Connection::Connection(Connection&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), deadline_(other.deadline_) {}

Connection::~Connection() {
  if (socket_ >= 0) close(socket_);
}

absl::Status Connection::Connect(const void* address, unsigned bytes) {
  if (connect(socket_, static_cast<const sockaddr*>(address), bytes) == 0) return absl::OkStatus();
  if (errno != EINPROGRESS) return ErrorOf(errno);
  DW_RETURN_IF_ERROR(Await(POLLOUT));
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? absl::OkStatus() : ErrorOf(error);
}

absl::Status Connection::Await(short events) const {
  pollfd one = {socket_, events, 0};
  for (;;) {
    const int64_t left = absl::ToInt64Milliseconds(deadline_ - absl::Now());
    if (left <= 0) return absl::DeadlineExceededError("no answer in time");
    const int ready = poll(&one, 1, static_cast<int>(std::min<int64_t>(left, 1000)));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return ErrorOf(errno);
  }
}

absl::Status Connection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    if (sent > 0) continue;
    if (!IsPassing(errno)) return ErrorOf(errno);
    DW_RETURN_IF_ERROR(Await(POLLOUT));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Connection::Receive() {
  std::array<char, 16384> bytes;
  for (;;) {
    DW_RETURN_IF_ERROR(Await(POLLIN));
    const ssize_t got = recv(socket_, bytes.data(), bytes.size(), 0);
    if (got >= 0) return std::string(bytes.data(), static_cast<size_t>(got));
    if (!IsPassing(errno)) return ErrorOf(errno);
  }
}

}  // namespace deweather
