// A network small enough for a test.

#ifndef DEWEATHER_TESTS_MODEL_TINY_H_
#define DEWEATHER_TESTS_MODEL_TINY_H_

#include "model/base/model_config.h"

namespace deweather {

inline ModelConfig TinyConfig(ExpertKind kind = ExpertKind::kFme) {
  ModelConfig config;
  config.name = "tiny";
  config.kind = kind;
  config.embed_dim = 16;
  config.heads = 2;
  config.head_dim = 8;
  config.channels = 4;
  config.tail_scale = 2;
  config.experts = kind == ExpertKind::kDense ? 0 : 4;
  config.kept = kind == ExpertKind::kDense ? 0 : 2;
  config.tile_px = 32;
  config.overlap_px = 8;
  return config;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_MODEL_TINY_H_
