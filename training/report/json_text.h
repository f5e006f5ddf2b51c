// JSON on one line.

#ifndef DEWEATHER_TRAINING_REPORT_JSON_TEXT_H_
#define DEWEATHER_TRAINING_REPORT_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>

namespace deweather {

// A file name that is not UTF-8 is no reason to fail: what is not is replaced.
inline std::string JsonText(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_JSON_TEXT_H_
