// SHA-256, as text: 64 hexadecimal digits in lower case.

#ifndef DEWEATHER_MODEL_BASE_SHA256_H_
#define DEWEATHER_MODEL_BASE_SHA256_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct evp_md_ctx_st;

namespace deweather {

std::string Sha256Hex(std::string_view bytes);

// Whether it may be one.
bool IsSha256(std::string_view text);

// Of a file, read piece by piece. ReadFile's errors.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

// Of bytes that come one after the other.
//
// Threads  thread-compatible
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::string_view bytes);
  // Of all bytes so far. REQUIRES: called once, last.
  std::string Hex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_SHA256_H_
