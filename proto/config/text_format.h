// Protobuf's text format with errors that say where, what and why.

#ifndef DEWEATHER_PROTO_CONFIG_TEXT_FORMAT_H_
#define DEWEATHER_PROTO_CONFIG_TEXT_FORMAT_H_

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <string>

#include "absl/status/status.h"

namespace deweather {

// Where the fields of a parsed file stand.
struct FieldPlaces {
  std::string file;
  google::protobuf::TextFormat::ParseInfoTree tree;
  bool secret = false;  // messages quote nothing that the file says
};

// Fills `message` and `places`, whose `file` is already set. Beyond what the format itself demands,
// enum numbers must be known and durations normalised.
// Errors: INVALID_ARGUMENT "FILE:LINE: what is wrong", with the field, its value and what it takes; without
// its value and the line's text where the file is secret.
absl::Status ParseText(const std::string& text, google::protobuf::Message* message,
                       FieldPlaces* places);

// What the wire lets through beside the fields' ranges: fields that nobody here knows, numbers that an enum
// has no name for, durations that are none. The error begins with `path`, that of `message`.
absl::Status CheckValues(const google::protobuf::Message& message, const std::string& path);

// `error`, whose message begins with the path of a field of `message` (as in "data.clean[1].dir is
// empty"), with "FILE:LINE: " in front: the line of the field, or of the deepest message around it
// that the file has, or no line at all.
absl::Status AtField(const absl::Status& error, const google::protobuf::Message& message,
                     const FieldPlaces& places);

}  // namespace deweather

#endif  // DEWEATHER_PROTO_CONFIG_TEXT_FORMAT_H_
