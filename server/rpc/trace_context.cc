#include "server/rpc/trace_context.h"

#include <algorithm>
#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"

namespace deweather {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;
constexpr size_t kTraceIdDigits = 32;
constexpr size_t kParentIdDigits = 16;
constexpr size_t kFlagsDigits = 2;

bool IsHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(std::string_view text) {
  return IsHex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

// The value of a header that was sent once; else empty.
std::string_view HeaderOf(const grpc::ServerContextBase& context, const char* name) {
  const auto [first, last] = context.client_metadata().equal_range(name);
  if (first == last || std::next(first) != last) return {};
  return {first->second.data(), first->second.size()};
}

}  // namespace

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= kMaxRequestIdBytes &&
         std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

std::string NewRequestId() {
  static thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  const uint64_t high = random();
  return absl::StrFormat("%016x%016x", high, random());
}

std::optional<TraceParent> ParseTraceParent(std::string_view text) {
  constexpr size_t kTraceId = 3;
  constexpr size_t kParentId = kTraceId + kTraceIdDigits + 1;
  constexpr size_t kFlags = kParentId + kParentIdDigits + 1;
  if (text.size() != kFlags + kFlagsDigits || !text.starts_with("00-") ||
      text[kParentId - 1] != '-' || text[kFlags - 1] != '-') {
    return std::nullopt;
  }
  const std::string_view trace_id = text.substr(kTraceId, kTraceIdDigits);
  const std::string_view parent_id = text.substr(kParentId, kParentIdDigits);
  if (!IsId(trace_id) || !IsId(parent_id) || !IsHex(text.substr(kFlags))) return std::nullopt;
  return TraceParent{std::string(trace_id), std::string(parent_id)};
}

std::string RequestIdOf(const grpc::ServerContextBase& context) {
  const std::string_view id = HeaderOf(context, kRequestIdHeader);
  return IsRequestId(id) ? std::string(id) : NewRequestId();
}

std::string TraceParentOf(const grpc::ServerContextBase& context) {
  const std::string_view text = HeaderOf(context, "traceparent");
  return ParseTraceParent(text).has_value() ? std::string(text) : std::string();
}

}  // namespace deweather
