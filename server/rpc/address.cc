#include "server/rpc/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "model/base/c_owned.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

// Port 0 is free for IPv4 first and then must be for IPv6: so often another is tried.
constexpr int kTriesForPort = 5;

// A peer that has not acknowledged what was sent, or has had no room for more, for so long is taken for gone.
// As on gRPC's own sockets, where it is the time that a ping may take.
constexpr int kUserTimeoutMs = 20'000;

using Addresses = COwned<addrinfo, freeaddrinfo>;

// HOST without brackets, and PORT.
std::pair<std::string, std::string> Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return {host, address.substr(colon + 1)};
}

absl::StatusOr<Addresses> Resolve(const std::string& host, const std::string& port,
                                  const std::string& address) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error == 0) return Addresses(found);
  return absl::NotFoundError(
      absl::StrFormat("cannot listen on %s: %s", address, gai_strerror(error)));
}

bool SetOption(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

int PortOf(int fd) {
  sockaddr_storage bound = {};
  socklen_t size = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  // The port is in the same place of both kinds.
  return ntohs(reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

absl::Status CannotListen(int error, const std::string& address) {
  const absl::Status status =
      absl::ErrnoToStatus(error, absl::StrFormat("cannot listen on %s", address));
  if (error == EADDRINUSE) return absl::AlreadyExistsError(status.message());
  if (error == EADDRNOTAVAIL) return absl::NotFoundError(status.message());
  return status;
}

// `port` 0: any.
absl::StatusOr<int> ListenOn(const addrinfo& where, bool both_kinds, int port,
                             const std::string& address) {
  sockaddr_storage bound = {};
  std::memcpy(&bound, where.ai_addr, where.ai_addrlen);
  reinterpret_cast<sockaddr_in&>(bound).sin_port = htons(static_cast<uint16_t>(port));
  const int fd = socket(where.ai_family, where.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return absl::ErrnoToStatus(errno, "cannot make a socket");
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  // What is accepted inherits both.
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  if (where.ai_family == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, both_kinds ? 0 : 1);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&bound), where.ai_addrlen) == 0 &&
      listen(fd, SOMAXCONN) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  return CannotListen(error, address);
}

// Names may stand for one address more than once.
bool IsRepeated(const addrinfo* list, const addrinfo* node) {
  for (; list != node; list = list->ai_next) {
    if (list->ai_addrlen == node->ai_addrlen &&
        std::memcmp(list->ai_addr, node->ai_addr, node->ai_addrlen) == 0) {
      return true;
    }
  }
  return false;
}

// On each address of the list, all with one port.
absl::StatusOr<ListeningSockets> ListenOnEach(const addrinfo* list, bool both_kinds, int port,
                                              const std::string& address) {
  ListeningSockets listening;
  listening.port = port;
  absl::Cleanup close_them = [&listening] {
    for (const int fd : listening.sockets) close(fd);
  };
  absl::Status why;
  for (const addrinfo* where = list; where != nullptr; where = where->ai_next) {
    if (IsRepeated(list, where)) continue;
    const absl::StatusOr<int> fd = ListenOn(*where, both_kinds, listening.port, address);
    if (absl::IsAlreadyExists(fd.status())) return fd.status();
    why.Update(fd.status());
    if (!fd.ok()) continue;
    listening.sockets.push_back(*fd);
    if (listening.port == 0) listening.port = PortOf(*fd);
  }
  if (listening.sockets.empty()) return why;
  std::move(close_them).Cancel();
  return listening;
}

}  // namespace

absl::StatusOr<ListeningSockets> Listen(const std::string& address) {
  const auto [host, port] = Split(address);
  const int number = std::atoi(port.c_str());
  if (host == "0.0.0.0" || host == "::") {
    DW_ASSIGN_OR_RETURN(const Addresses both, Resolve("::", port, address));
    absl::StatusOr<ListeningSockets> listening = ListenOnEach(both.get(), true, number, address);
    if (listening.ok() || absl::IsAlreadyExists(listening.status()) || host == "::") {
      return listening;
    }
  }
  DW_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(host, port, address));
  absl::StatusOr<ListeningSockets> listening;
  for (int i = 0; i < kTriesForPort; ++i) {
    listening = ListenOnEach(addresses.get(), false, number, address);
    if (number != 0 || !absl::IsAlreadyExists(listening.status())) break;
  }
  return listening;
}

absl::Status CheckCanListen(const std::vector<std::string>& addresses) {
  std::vector<int> sockets;
  const absl::Cleanup close_them = [&sockets] {
    for (const int fd : sockets) close(fd);
  };
  for (const std::string& address : addresses) {
    DW_ASSIGN_OR_RETURN(const ListeningSockets listening, Listen(address));
    sockets.insert(sockets.end(), listening.sockets.begin(), listening.sockets.end());
  }
  return absl::OkStatus();
}

}  // namespace deweather
