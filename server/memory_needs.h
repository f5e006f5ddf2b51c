// Whether the server fits into the memory that it is allowed: a process that the kernel kills says nothing about why.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_MEMORY_NEEDS_H_
#define DEWEATHER_SERVER_MEMORY_NEEDS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "model/base/server_options.h"

namespace deweather {

// RESOURCE_EXHAUSTED: less than what a server with a model of the size of the shipped one takes to start.
// nullopt: there is no limit.
absl::Status CheckStartMemory(const ServerOptions& options, std::optional<int64_t> limit_bytes);

// RESOURCE_EXHAUSTED: of the addresses that this process may map (ulimit -v) too few are left to start. Threads that
// cannot be had end the process somewhere in gRPC, without a word.
absl::Status CheckAddresses(int64_t mapped_bytes, std::optional<int64_t> limit_bytes);

// What is to be said where the budgets of requests and jobs, beside the `resident_bytes` that the server holds
// with its models, are more than the limit; empty: nothing.
std::string MemoryWarning(const ServerOptions& options, int64_t resident_bytes,
                          std::optional<int64_t> limit_bytes);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_MEMORY_NEEDS_H_
