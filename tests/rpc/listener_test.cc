#include "server/rpc/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "tests/batch/signal.h"

namespace deweather {
namespace {

bool HappensSoon(const std::function<bool()>& condition) {
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (!condition()) {
    if (absl::Now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// Whether an eventfd of this process has been written to, and not been read.
bool AnEventWaits() {
  for (const auto& file : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream info(file.path());
    const std::string text{std::istreambuf_iterator<char>(info), {}};
    const size_t at = text.find("eventfd-count:");
    if (at != std::string::npos && std::stoi(text.substr(at + 14), nullptr, 16) > 0) return true;
  }
  return false;
}

int NewSocket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

bool Connect(int fd, int port) {
  sockaddr_in where = {};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<uint16_t>(port));
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) == 0;
}

// Whether the other side has closed it; waits for that.
bool IsClosed(int fd) {
  char byte = 0;
  return recv(fd, &byte, 1, 0) <= 0;
}

class ListenerTest : public testing::Test {
 protected:
  void Start(int max_connections, const std::string& address = "127.0.0.1:0") {
    auto listener = Listener::Start(address, max_connections, [this](int fd) {
      MutexLock lock(mutex_);
      accepted_.push_back(fd);
    });
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }

  // A caller's side of a connection.
  int Call() {
    accepted_before_ = accepted();
    const int fd = NewSocket();
    callers_.push_back(fd);
    EXPECT_TRUE(Connect(fd, listener_->port()));
    return fd;
  }

  size_t accepted() {
    MutexLock lock(mutex_);
    return accepted_.size();
  }
  bool Accepts(size_t count) {
    return HappensSoon([this, count] { return accepted() == count; });
  }
  // Whether it is not refused, once that is known. REQUIRES: nobody else calls.
  bool IsAccepted(int caller) {
    char byte = 0;
    const size_t before = accepted_before_;
    EXPECT_TRUE(HappensSoon(
        [&] { return accepted() > before || recv(caller, &byte, 1, MSG_DONTWAIT) == 0; }));
    return accepted() > before;
  }
  // As gRPC closes what it was handed.
  void CloseAccepted(size_t index) {
    MutexLock lock(mutex_);
    close(accepted_[index]);
    accepted_[index] = -1;
  }

  void TearDown() override {
    listener_.reset();
    for (const int fd : callers_) close(fd);
    for (const int fd : accepted_) {
      if (fd >= 0) close(fd);
    }
  }

  Mutex mutex_;
  std::vector<int> accepted_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> callers_;
  size_t accepted_before_ = 0;  // the last call
  std::unique_ptr<Listener> listener_;
};

TEST_F(ListenerTest, SoManyAndNoMore) {
  Start(3);
  for (int i = 0; i < 3; ++i) Call();
  EXPECT_TRUE(Accepts(3));
  EXPECT_TRUE(IsClosed(Call()));
  EXPECT_TRUE(IsClosed(Call()));
  EXPECT_EQ(accepted(), 3U);
  EXPECT_EQ(listener_->refused(), 2);
  EXPECT_EQ(listener_->CountOpen(), 3);
}

TEST_F(ListenerTest, OneThatClosedMakesRoom) {
  Start(2);
  Call();
  Call();
  ASSERT_TRUE(Accepts(2));
  CloseAccepted(0);
  EXPECT_EQ(listener_->CountOpen(), 1);
  Call();
  EXPECT_TRUE(Accepts(3));
  // Found by itself too, at the latest when it is looked next.
  CloseAccepted(1);
  EXPECT_TRUE(HappensSoon([this] { return IsAccepted(Call()); }))
      << "nobody looked whether one has closed";
}

TEST_F(ListenerTest, ADescriptorThatIsAnotherFilesNowIsNotCounted) {
  Start(8);
  Call();
  ASSERT_TRUE(Accepts(1));
  int reused = -1;
  {
    MutexLock lock(mutex_);
    reused = accepted_[0];
    dup2(callers_[0], reused);  // another socket under the same number
  }
  EXPECT_EQ(listener_->CountOpen(), 0);
}

TEST_F(ListenerTest, WhatIsHandedOverIsSetUpAsGrpcWould) {
  Start(1);
  Call();
  ASSERT_TRUE(Accepts(1));
  MutexLock lock(mutex_);
  int no_delay = 0;
  socklen_t size = sizeof(no_delay);
  getsockopt(accepted_[0], IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
  EXPECT_NE(no_delay, 0);
  int user_timeout = 0;
  getsockopt(accepted_[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, &size);
  EXPECT_EQ(user_timeout, 20'000);
  EXPECT_NE(fcntl(accepted_[0], F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(accepted_[0], F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(ListenerTest, DescriptorsRunOutAndComeBack) {
  Start(100);
  std::vector<int> waiting;
  for (int i = 0; i < 20; ++i) waiting.push_back(NewSocket());
  callers_ = waiting;
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  // Room for a few more than there are now.
  const rlimit tight = {static_cast<rlim_t>(waiting.back()) + 4, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  for (const int fd : waiting) EXPECT_TRUE(Connect(fd, listener_->port()));
  EXPECT_TRUE(HappensSoon([this] { return accepted() >= 3; }));
  EXPECT_LT(accepted(), 20U);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_TRUE(Accepts(20)) << accepted();
  EXPECT_EQ(listener_->refused(), 0);
}

TEST_F(ListenerTest, OnceStoppedNobodyIsListenedTo) {
  Start(8);
  listener_->Stop();
  const int fd = NewSocket();
  callers_.push_back(fd);
  EXPECT_FALSE(Connect(fd, listener_->port()));
  EXPECT_EQ(accepted(), 0U);
}

// Whoever stops it while hundreds call does not wait until all of them have been accepted.
TEST_F(ListenerTest, StopsWhateverCalls) {
  const Signal called;
  const Signal stopping;
  auto listener = Listener::Start("127.0.0.1:0", 1000, [&](int fd) {
    called.Raise();
    stopping.Wait();
    MutexLock lock(mutex_);
    accepted_.push_back(fd);
  });
  ASSERT_TRUE(listener.ok()) << listener.status();
  listener_ = *std::move(listener);
  for (int i = 0; i < 300; ++i) Call();
  called.Wait();
  ASSERT_FALSE(AnEventWaits());
  std::thread stopper([this] { listener_->Stop(); });
  EXPECT_TRUE(HappensSoon(AnEventWaits)) << "it is not told to stop";
  stopping.Raise();
  stopper.join();
  EXPECT_LT(accepted(), 100U);
}

TEST_F(ListenerTest, LocalhostIsOnePortOfBothKinds) {
  Start(8, "localhost:0");
  Call();
  EXPECT_TRUE(Accepts(1));
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) GTEST_SKIP() << "no IPv6 here";
  callers_.push_back(fd);
  sockaddr_in6 where = {};
  where.sin6_family = AF_INET6;
  where.sin6_port = htons(static_cast<uint16_t>(listener_->port()));
  where.sin6_addr = in6addr_loopback;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0) {
    GTEST_SKIP() << "localhost is of IPv4 alone here";
  }
  EXPECT_TRUE(Accepts(2));
}

TEST_F(ListenerTest, APortInUseIsAnError) {
  Start(8);
  const std::string address = "127.0.0.1:" + std::to_string(listener_->port());
  EXPECT_TRUE(absl::IsAlreadyExists(Listener::Start(address, 8, [](int) {}).status()));
}

}  // namespace
}  // namespace deweather
