// What each stage of a network's forward pass has to compute and to move.
//
// Stages   head, embed, attention, router, stem, experts (sorting, products and mixing of the kept ones),
//          ffn, expand, tail: those that the network has; blocks are added up

#ifndef DEWEATHER_TRAINING_STAGE_COST_H_
#define DEWEATHER_TRAINING_STAGE_COST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/base/model_config.h"

namespace deweather {

struct StageCost {
  std::string stage;
  int64_t macs = 0;   // multiply-accumulates
  int64_t bytes = 0;  // of each layer's weights, input and output, once each
};

// For a batch of tiles of size_px x size_px, computed in values of so many bytes (the router in f32).
std::vector<StageCost> CountStages(const ModelConfig& config, int size_px, int batch,
                                   int bytes_a_value);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_STAGE_COST_H_
