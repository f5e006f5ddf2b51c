// Texts of others, fit for a line of ours.

#ifndef DEWEATHER_CLIENT_TEXT_H_
#define DEWEATHER_CLIENT_TEXT_H_

#include <cstddef>
#include <string>

namespace deweather {

// Blanks for control characters, which a terminal would obey.
std::string OneLine(std::string text);

// The first `bytes` of it, or some fewer, no character cut in two, and "..." for the rest.
std::string Shortened(const std::string& text, size_t bytes);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_TEXT_H_
