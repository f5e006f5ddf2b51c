#include "server/rpc/address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

absl::Status TryToListen(const addrinfo& where, const std::string& address,
                         std::vector<int>& sockets) {
  const int fd = socket(where.ai_family, where.ai_socktype | SOCK_CLOEXEC, where.ai_protocol);
  if (fd < 0) return absl::ErrnoToStatus(errno, "cannot make a socket");
  sockets.push_back(fd);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, 1) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrFormat("cannot listen on %s", address));
}

absl::Status TryAddress(const std::string& address, std::vector<int>& sockets) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found);
  const Addresses addresses(found);
  if (error != 0) {
    return absl::NotFoundError(
        absl::StrFormat("cannot listen on %s: %s", address, gai_strerror(error)));
  }
  return TryToListen(*addresses, address, sockets);
}

}  // namespace

absl::Status CheckCanListen(const std::vector<std::string>& addresses) {
  std::vector<int> sockets;
  const absl::Cleanup close_them = [&sockets] {
    for (const int fd : sockets) close(fd);
  };
  for (const std::string& address : addresses) {
    DW_RETURN_IF_ERROR(TryAddress(address, sockets));
  }
  return absl::OkStatus();
}

}  // namespace deweather
