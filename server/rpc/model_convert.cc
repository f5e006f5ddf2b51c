#include "server/rpc/model_convert.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "model/base/name.h"

namespace deweather {
namespace {

constexpr int kDefaultPageSize = 50;
constexpr int kMaxPageSize = 1000;
constexpr char kTokenPrefix[] = "after:";

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const absl::Duration since = time - absl::UnixEpoch();
  const int64_t seconds = absl::ToInt64Seconds(since);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(since - absl::Seconds(seconds))));
}

void Fill(const LiveModelInfo& live, v1::Model& model) {
  model.set_live_version(live.version);
  model.set_is_default(live.is_default);
  SetTime(live.live_since, model.mutable_live_time());
  model.set_tile_px(live.tile.tile_px);
  model.set_overlap_px(live.tile.overlap_px);
  model.set_multiple_px(live.tile.multiple_px);
  model.set_layers(live.layers);
  model.set_experts(live.experts);
  model.set_kept(live.kept);
}

}  // namespace

v1::Model ToMessage(const ModelStatus& status) {
  v1::Model model;
  model.set_name(status.name);
  if (status.live.has_value()) Fill(*status.live, model);
  model.set_previous_version(status.previous_version);
  for (const VersionManifest& manifest : status.versions) {
    v1::Model::Version& version = *model.add_versions();
    version.set_version(manifest.version);
    SetTime(manifest.created_time, version.mutable_create_time());
    version.set_bytes(manifest.bytes);
    version.set_source(manifest.source);
  }
  return model;
}

absl::StatusOr<Page> ToPage(const v1::ListModelsRequest& request) {
  if (request.page_size() < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("page_size is %d; it must be 0 or more", request.page_size()));
  }
  Page page{
      request.page_size() == 0 ? kDefaultPageSize : std::min(request.page_size(), kMaxPageSize),
      ""};
  if (request.page_token().empty()) return page;
  std::string text;
  absl::string_view name;
  if (absl::WebSafeBase64Unescape(request.page_token(), &text)) {
    name = text;
    if (!absl::ConsumePrefix(&name, kTokenPrefix)) name = {};
  }
  page.after = std::string(name);
  if (ValidateName("page_token", page.after).ok()) return page;
  return absl::InvalidArgumentError("page_token is not one that this server sent");
}

std::string PageToken(const std::string& last) {
  return absl::WebSafeBase64Escape(absl::StrCat(kTokenPrefix, last));
}

}  // namespace deweather
