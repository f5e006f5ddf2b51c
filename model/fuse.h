// A teacher's experts in one: what a dense student starts from [Xue et al. 2022, OneS].

#ifndef DEWEATHER_MODEL_FUSE_H_
#define DEWEATHER_MODEL_FUSE_H_

#include "absl/status/statusor.h"
#include "model/base/model_config.h"
#include "model/checkpoint.h"
#include "model/network.h"

namespace deweather {

// The weights that `student` starts from.
// Math     a dense student of ffn experts: in each block norm and feed-forward network are the means over the
//          experts; all else, and a student of the teacher's own network, is the teacher's. The mean is
//          of gates that sum to 1; those of Gate::kPaper sum to s < 1 (about K/E at first), and what the
//          fused network adds is then 1/s times the teacher's, which the student has to unlearn
// Errors   INVALID_ARGUMENT the student differs from the teacher in more than its experts, named; or the
//          teacher's experts are fme, which have no feed-forward network each
absl::StatusOr<Parameters> FuseExperts(const Checkpoint& teacher, const ModelConfig& student);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_FUSE_H_
