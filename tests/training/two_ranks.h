// Ranks of one run as threads of the test: each has its own connections, as processes would.

#ifndef DEWEATHER_TESTS_TRAINING_TWO_RANKS_H_
#define DEWEATHER_TESTS_TRAINING_TWO_RANKS_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "training/rank_place.h"

namespace deweather {

// c10d's flight recorder notes each collective in a map of the process without a lock: ranks that are threads
// break it.
inline const bool kNoFlightRecorder = setenv("TORCH_FR_BUFFER_SIZE", "0", 1) == 0;

// A port of the loopback that nobody listens at: below those that the system gives to clients, and another
// one for each process, so that nobody takes it before it is used.
inline int FreePort() {
  constexpr int kFirst = 10000, kPorts = 20000;
  static std::atomic<int> next = static_cast<int>(int64_t{getpid()} * 16 % kPorts);
  while (true) {
    const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int port = kFirst + next++ % kPorts;
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool free = bind(file, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    close(file);
    if (free) return port;
  }
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
