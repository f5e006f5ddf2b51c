// SHA-256 of bytes in memory, as text.

#ifndef DEWEATHER_MODEL_SHA256_H_
#define DEWEATHER_MODEL_SHA256_H_

#include <string>
#include <string_view>

namespace deweather {

// 64 hexadecimal digits in lower case.
std::string Sha256Hex(std::string_view bytes);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_SHA256_H_
