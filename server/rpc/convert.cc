#include "server/rpc/convert.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using Wire = v1::RestoreOptions;

absl::Status UnknownNumber(const char* option, int number, int largest) {
  return WithReason(absl::InvalidArgumentError(
                        absl::StrFormat("%s is %d; it must be in 0..%d", option, number, largest)),
                    "INVALID_OPTION");
}

absl::StatusOr<std::optional<ImageFormat>> ToFormat(Wire::Format format) {
  switch (format) {
    case Wire::FORMAT_UNSPECIFIED:
      return std::nullopt;
    case Wire::FORMAT_JPEG:
      return ImageFormat::kJpeg;
    case Wire::FORMAT_PNG:
      return ImageFormat::kPng;
    case Wire::FORMAT_WEBP:
      return ImageFormat::kWebp;
    case Wire::FORMAT_TIFF:
      return ImageFormat::kTiff;
    case Wire::FORMAT_BMP:
      return ImageFormat::kBmp;
    default:
      return UnknownNumber("format", format, Wire::Format_MAX);
  }
}

Wire::Format ToWire(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return Wire::FORMAT_JPEG;
    case ImageFormat::kPng:
      return Wire::FORMAT_PNG;
    case ImageFormat::kWebp:
      return Wire::FORMAT_WEBP;
    case ImageFormat::kTiff:
      return Wire::FORMAT_TIFF;
    case ImageFormat::kBmp:
      return Wire::FORMAT_BMP;
  }
  return Wire::FORMAT_UNSPECIFIED;
}

absl::StatusOr<MetadataPolicy> ToPolicy(Wire::MetadataPolicy policy) {
  switch (policy) {
    case Wire::METADATA_POLICY_UNSPECIFIED:
    case Wire::METADATA_POLICY_PRESERVE:
      return MetadataPolicy::kPreserve;
    case Wire::METADATA_POLICY_STRIP:
      return MetadataPolicy::kStrip;
    default:
      return UnknownNumber("metadata_policy", policy, Wire::MetadataPolicy_MAX);
  }
}

absl::StatusOr<Priority> ToPriority(Wire::Priority priority) {
  switch (priority) {
    case Wire::PRIORITY_UNSPECIFIED:
    case Wire::PRIORITY_NORMAL:
      return Priority::kNormal;
    case Wire::PRIORITY_BACKGROUND:
      return Priority::kBackground;
    default:
      return UnknownNumber("priority", priority, Wire::Priority_MAX);
  }
}

void SetDuration(absl::Duration duration, google::protobuf::Duration* message) {
  absl::Duration rest;
  message->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  message->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
}

void SetRouting(const RoutingSummary& routing, v1::Routing* message) {
  message->set_unit(routing.per_image ? v1::Routing::UNIT_IMAGE : v1::Routing::UNIT_TOKEN);
  message->set_units(routing.units);
  message->set_kept(routing.kept);
  message->set_unit_px(routing.unit_px);
  for (size_t layer = 0; layer < static_cast<size_t>(routing.layers); ++layer) {
    v1::Routing::Layer& out = *message->add_layers();
    const size_t begin = layer * static_cast<size_t>(routing.experts);
    for (size_t i = begin; i < begin + static_cast<size_t>(routing.layer_experts[layer]); ++i) {
      out.add_tokens(routing.tokens[i]);
      out.add_gate(routing.gate[i]);
    }
    out.set_entropy_ratio(routing.entropy[layer]);
    if (!routing.uncertainty.empty()) out.set_uncertainty(routing.uncertainty[layer]);
  }
}

void SetTimings(const StageTimings& timings, v1::Timings* message) {
  SetDuration(timings.decode, message->mutable_decode());
  SetDuration(timings.queue, message->mutable_queue());
  SetDuration(timings.infer, message->mutable_infer());
  SetDuration(timings.blend, message->mutable_blend());
  SetDuration(timings.encode, message->mutable_encode());
  SetDuration(timings.total, message->mutable_total());
  message->set_tiles(timings.tiles);
  message->set_batches(timings.batches);
}

}  // namespace

absl::StatusOr<RestoreOptions> ToOptions(const v1::RestoreOptions& message) {
  RestoreOptions options;
  options.model = message.model();
  DW_ASSIGN_OR_RETURN(options.format, ToFormat(message.format()));
  options.quality = message.quality();
  DW_ASSIGN_OR_RETURN(options.metadata, ToPolicy(message.metadata_policy()));
  if (message.has_strength()) options.strength = message.strength();
  options.expert_map = message.expert_map();
  DW_ASSIGN_OR_RETURN(options.priority, ToPriority(message.priority()));
  options.task = message.task();
  options.uncertainty_map = message.uncertainty_map();
  options.seed = message.seed();
  return options;
}

void ToMessage(RestoreResult result, v1::RestoreResponse* message) {
  message->set_image(std::move(result.image));
  message->set_format(ToWire(result.format));
  message->set_width_px(result.width);
  message->set_height_px(result.height);
  message->mutable_model()->set_name(std::move(result.model));
  message->mutable_model()->set_version(std::move(result.version));
  if (result.routing.layers > 0) SetRouting(result.routing, message->mutable_routing());
  SetTimings(result.timings, message->mutable_timings());
  message->set_expert_map(std::move(result.expert_map_png));
  message->set_uncertainty_map(std::move(result.uncertainty_map_png));
}

void ToMessage(const absl::Status& error, v1::FrameError* message) {
  message->set_code(static_cast<int>(error.code()));
  message->set_message(std::string(error.message()));
  message->set_reason(ErrorReason(error));
  const std::optional<absl::Duration> delay = RetryDelay(error);
  if (delay.has_value()) SetDuration(*delay, message->mutable_retry_delay());
}

}  // namespace deweather
