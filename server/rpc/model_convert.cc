#include "server/rpc/model_convert.h"

#include <string>

#include "server/rpc/wire_time.h"

namespace deweather {
namespace {

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
  for (const std::string& task : live.tasks) model.add_tasks(task);
}

}  // namespace

v1::Model ToMessage(const ModelStatus& status) {
  v1::Model model;
  model.set_name(status.name);
  if (status.live.has_value()) Fill(*status.live, model);
  model.set_previous_version(status.previous_version);
  model.set_canary_version(status.canary_version);
  model.set_canary_percent(status.canary_percent);
  for (const std::string& task : status.canary_tasks) model.add_canary_tasks(task);
  for (const VersionManifest& manifest : status.versions) {
    v1::Model::Version& version = *model.add_versions();
    version.set_version(manifest.version);
    SetTime(manifest.created_time, version.mutable_create_time());
    version.set_bytes(manifest.bytes);
    version.set_source(manifest.source);
  }
  return model;
}

}  // namespace deweather
