// Options of a run that takes a second.

#ifndef DEWEATHER_TESTS_TRAINING_TINY_RUN_H_
#define DEWEATHER_TESTS_TRAINING_TINY_RUN_H_

#include <string>

#include "model/base/train_options.h"
#include "tests/model/tiny.h"
#include "tests/training/pictures.h"

namespace deweather {

// Writes two clean pictures to `folder`; the run goes to its "out".
inline TrainOptions TinyRun(const std::string& folder) {
  WritePictures(folder + "/clean", 2);
  TrainOptions options;
  options.name = "tiny";
  options.model = TinyConfig();
  options.model.residual = true;
  options.data.clean = {{.dir = folder + "/clean"}};
  options.data.crop_px = 32;
  options.batch = 2;
  options.steps = 6;
  options.optimizer.learning_rate = 1e-3;
  options.optimizer.warmup_steps = 2;
  options.threads = 1;
  options.checkpoint_every_steps = 3;
  options.log_every_steps = 1;
  options.output_dir = folder + "/out";
  return options;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_TRAINING_TINY_RUN_H_
