#include "server/rpc/listener.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace deweather {
namespace {

// So long nobody is accepted once descriptors or memory have run out.
constexpr absl::Duration kPause = absl::Milliseconds(100);

// At the limit it is looked for closed ones so often: a flood of callers shall not keep a processor busy.
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(10);

// Accepted from one socket before another is looked at, and whether it is to stop.
constexpr int kAcceptsATurn = 64;

bool IsSame(int fd, ino_t inode) {
  struct stat now = {};
  return fstat(fd, &now) == 0 && S_ISSOCK(now.st_mode) && now.st_ino == inode;
}

bool OutOfResources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(const std::string& address,
                                                          int max_connections, HandOver hand_over) {
  const int wake = eventfd(0, EFD_CLOEXEC);
  if (wake < 0) return absl::ErrnoToStatus(errno, "cannot make an eventfd");
  absl::StatusOr<ListeningSockets> listening = Listen(address);
  if (!listening.ok()) {
    close(wake);
    return listening.status();
  }
  return std::unique_ptr<Listener>(
      new Listener(*std::move(listening), wake, max_connections, std::move(hand_over)));
}

Listener::Listener(ListeningSockets listening, int wake, int max_connections, HandOver hand_over)
    : sockets_(std::move(listening.sockets)),
      port_(listening.port),
      max_connections_(static_cast<size_t>(max_connections)),
      hand_over_(std::move(hand_over)),
      wake_(wake),
      thread_([this] { Run(); }) {}

Listener::~Listener() {
  Stop();
  close(wake_);
}

void Listener::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(wake_, 1);
  thread_.join();
  for (const int socket : sockets_) close(socket);
}

int Listener::CountOpen() {
  MutexLock lock(mutex_);
  Forget();
  return static_cast<int>(open_.size());
}

void Listener::Run() {
  bool exhausted = false;
  while (WaitForCallers(exhausted ? kPause : absl::InfiniteDuration())) {
    const bool was_exhausted = std::exchange(exhausted, false);
    for (const int socket : sockets_) exhausted |= !AcceptFrom(socket);
    if (exhausted && !was_exhausted) {
      spdlog::warn("no descriptors or no memory for another connection: new ones wait");
    }
  }
}

// Until somebody calls, or, while it pauses, for `time`. False: it is to stop.
bool Listener::WaitForCallers(absl::Duration time) {
  std::vector<pollfd> waiting = {{wake_, POLLIN, 0}};
  const bool pauses = time != absl::InfiniteDuration();
  if (!pauses) {
    for (const int socket : sockets_) waiting.push_back({socket, POLLIN, 0});
  }
  const int milliseconds = pauses ? static_cast<int>(absl::ToInt64Milliseconds(time)) : -1;
  poll(waiting.data(), waiting.size(), milliseconds);
  return (waiting[0].revents & POLLIN) == 0;
}

bool Listener::AcceptFrom(int socket) {
  for (int i = 0; i < kAcceptsATurn; ++i) {
    const int fd = accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0) return !OutOfResources(errno);
    if (Admit(fd)) {
      hand_over_(fd);
    } else {
      ++refused_;  // before it closes: who sees the one sees the other
      close(fd);
    }
  }
  return true;
}

bool Listener::Admit(int fd) {
  struct stat info = {};
  fstat(fd, &info);
  MutexLock lock(mutex_);
  if (open_.size() >= max_connections_ && last_look_.elapsed() >= kBetweenLooks) {
    Forget();
    last_look_ = Stopwatch();
  }
  open_.erase(fd);  // whoever had it has closed it
  if (open_.size() >= max_connections_) return false;
  open_[fd] = info.st_ino;
  return true;
}

void Listener::Forget() {
  std::erase_if(
      open_, [](const auto& connection) { return !IsSame(connection.first, connection.second); });
}

}  // namespace deweather
