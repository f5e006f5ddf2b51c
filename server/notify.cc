#include "server/notify.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace deweather {

void Notify(std::string_view state) {
  const char* const socket_path = std::getenv("NOTIFY_SOCKET");
  const std::string_view path = socket_path == nullptr ? "" : socket_path;
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty()) return;
  if (path.size() >= sizeof(address.sun_path)) {
    return spdlog::warn("NOTIFY_SOCKET is '{}': too long for a socket", socket_path);
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  if (path.front() == '@') address.sun_path[0] = '\0';  // an abstract one, of no file
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sender < 0 || sendto(sender, state.data(), state.size(), MSG_NOSIGNAL,
                           reinterpret_cast<const sockaddr*>(&address), length) < 0) {
    spdlog::warn("NOTIFY_SOCKET is '{}': {}", socket_path, std::strerror(errno));
  }
  if (sender >= 0) close(sender);
}

}  // namespace deweather
