// Ranks of one run as threads of the test: each has its own connections, as processes would.

#ifndef DEWEATHER_TESTS_TRAINING_TWO_RANKS_H_
#define DEWEATHER_TESTS_TRAINING_TWO_RANKS_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

#include "training/rank_place.h"

namespace deweather {

// A port of the loopback that nobody listens at.
inline int FreePort() {
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(file, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(file, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(file);
  return ntohs(address.sin_port);
}

inline void RunRanks(int count, const std::function<void(const RankPlace&)>& body) {
  const int port = FreePort();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < count; ++rank) {
    threads.emplace_back([=] { body({rank, count, rank, count, "127.0.0.1", port}); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_TRAINING_TWO_RANKS_H_
