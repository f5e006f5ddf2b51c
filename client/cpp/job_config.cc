#include "client/cpp/job_config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>

#include <memory>

#include "absl/strings/str_format.h"
#include "client/channel.h"
#include "model/base/status_macros.h"
#include "proto/config/text_format.h"
#include "train_config_descriptors.h"

namespace deweather {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::DynamicMessageFactory;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using google::protobuf::Message;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// The type and all that it is made of, for as long as the program runs.
const Message& ConfigPrototype() {
  static const DescriptorPool* const pool = [] {
    FileDescriptorSet files;
    files.ParseFromArray(kTrainConfigDescriptors, static_cast<int>(kTrainConfigDescriptorsBytes));
    auto* const made = new DescriptorPool;
    for (const FileDescriptorProto& file : files.file()) made->BuildFile(file);
    return made;
  }();
  static DynamicMessageFactory* const factory = new DynamicMessageFactory;
  static const Message* const prototype =
      factory->GetPrototype(pool->FindMessageTypeByName("deweather.v1.TrainConfig"));
  return *prototype;
}

absl::Status ParseJson(const std::string& text, Message* config) {
  const auto status = google::protobuf::util::JsonStringToMessage(text, config);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("config: %s", status.ToString()));
}

}  // namespace

absl::StatusOr<std::string> JobConfigBytes(const std::string& text) {
  if (text.size() > kMaxConfigBytes || !IsUtf8(text)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "config has %d bytes; it must be UTF-8 of at most %d", text.size(), kMaxConfigBytes));
  }
  const std::unique_ptr<Message> config(ConfigPrototype().New());
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{') {
    DW_RETURN_IF_ERROR(ParseJson(text, config.get()));
  } else {
    FieldPlaces places{"config", {}};
    DW_RETURN_IF_ERROR(ParseText(text, config.get(), &places));
  }
  return config->SerializeAsString();
}

}  // namespace deweather
