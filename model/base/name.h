// Names of models, in configurations, files and requests; and how messages show what anyone wrote.

#ifndef DEWEATHER_MODEL_BASE_NAME_H_
#define DEWEATHER_MODEL_BASE_NAME_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace deweather {

inline constexpr int kMaxNameBytes = 64;

// INVALID_ARGUMENT unless `name` is 1 to 64 bytes of letters, digits, '.', '_' and '-' that do not
// begin with '.'. The message begins with `field` and quotes the name, escaped and cut; one that is too
// long is told by its length alone.
absl::Status ValidateName(std::string_view field, std::string_view name);

// As messages quote a text that anyone wrote: escaped, and cut where it is longer than a name may be.
std::string ShownText(std::string_view text);

// The shortest form that is this number and no other: 1.0000001 is not shown as 1.
std::string ShownNumber(double value);
std::string ShownNumber(float value);

// The first of them, and how many more there are; "none". For messages.
std::string ShownNames(const std::vector<std::string>& names);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_NAME_H_
