#include "training/train.h"

#include <ATen/ops/full_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>

#include "model/checkpoint.h"
#include "tests/training/tiny_run.h"
#include "training/crop_sheet.h"
#include "training/dataset.h"
#include "training/run_folder.h"
#include "training/run_monitor.h"
#include "training/tools.h"
#include "training/train_state.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::Ge;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::vector<std::string> Checkpoints(const TrainOptions& options) {
  return ListCheckpoints(options.output_dir).value();
}

std::string Newest(const TrainOptions& options) { return Checkpoints(options).front(); }

TrainState LastState(const TrainOptions& options) {
  return ParseState(ReadFile(Newest(options)).value())->state;
}

// All that a run leaves but the time it took.
std::string Content(const TrainOptions& options) {
  TrainState state = LastState(options);
  state.elapsed = absl::ZeroDuration();
  return SerializeState(options.model, state, {}).value() +
         ReadFile(ModelPath(options.output_dir, options.name)).value();
}

// Ends a run when it has asked so many times: after each step and each picture that an evaluation reads or
// restores.
std::function<bool(int64_t)> StopAfter(int questions) {
  return [questions](int64_t) mutable { return --questions == 0; };
}

std::function<void(const std::string&)> Keep(std::vector<std::string>& lines) {
  return [&lines](const std::string& line) { lines.push_back(line); };
}

absl::StatusOr<std::string> Resume(TrainOptions options, const TrainSink& sink = {}) {
  options.resume = true;
  return Train(options, sink);
}

void Tear(const std::string& path) {
  const std::string whole = ReadFile(path).value();
  ASSERT_TRUE(WriteFileAtomically(path, whole.substr(0, whole.size() - 1)).ok());
}

TEST(TrainTest, LossFallsAndTheModelLoads) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 60;
  options.batch = 4;
  options.optimizer.learning_rate = 5e-3;
  std::vector<double> losses;
  const auto model =
      Train(options, {.progress = [&](const TrainProgress& at) { losses.push_back(at.loss); }});
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(losses.size(), 60);
  const auto mean = [&](int from) {
    double sum = 0;
    for (int i = from; i < from + 20; ++i) sum += losses[i];
    return sum / 20;
  };
  EXPECT_LT(mean(40), 0.9 * mean(0));
  const auto checkpoint = LoadCheckpoint(*model);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->config.name, "tiny");
  EXPECT_EQ(checkpoint->metadata.at("steps"), "60");
}

TEST(TrainTest, SameSeedSameWeights) {
  const std::string folder = NewFolder();
  TrainOptions a = TinyRun(folder), b = a, c = a;
  b.output_dir += "_b";
  c.output_dir += "_c";
  c.seed = 1;
  ASSERT_TRUE(Train(a, {}).ok());
  ASSERT_TRUE(Train(b, {}).ok());
  ASSERT_TRUE(Train(c, {}).ok());
  EXPECT_TRUE(Content(a) == Content(b));
  EXPECT_FALSE(Content(a) == Content(c));
}

TEST(TrainTest, TasksAreTold) {
  const std::string folder = NewFolder();
  TrainOptions options = TinyRun(folder);
  WritePictures(folder + "/pairs/input", 1);
  WritePictures(folder + "/pairs/gt", 1);
  options.data.pairs = {{folder + "/pairs/input", folder + "/pairs/gt", 1, 1, "mine"}};
  options.data.clean[0].weather = "haze";
  options.log_every_steps = 6;
  TrainProgress last;
  ASSERT_TRUE(Train(options, {.progress = [&](const TrainProgress& at) { last = at; }}).ok());
  ASSERT_THAT(last.task_loss, ElementsAre(testing::Key("haze"), testing::Key("mine")));
  EXPECT_LT(last.task_loss["mine"], last.task_loss["haze"]);  // its input is its truth
  EXPECT_GE(last.waiting_share, 0);
  EXPECT_LE(last.waiting_share, 1);
  EXPECT_EQ(last.bad_steps, 0);
  EXPECT_EQ(last.skipped_pictures, 0);
}

std::vector<std::string> LossesToldOf(const TrainProgress& at) {
  std::vector<std::string> names;
  for (const auto& [name, value] : ToRecord(at, absl::Now()).values) {
    if (name.starts_with("loss/")) names.push_back(name);
  }
  return names;
}

TEST(TrainTest, TermsOfTheLossAreToldWhereTheyArePartOfIt) {
  TrainOptions options = TinyRun(NewFolder());
  TrainProgress last;
  const TrainSink sink = {.progress = [&](const TrainProgress& at) { last = at; }};
  const std::string teacher = Train(options, sink).value();
  EXPECT_THAT(LossesToldOf(last), ElementsAre("loss/all", "loss/balance", "loss/rain"));
  options.output_dir += "_student";
  options.uncertainty_weight = 0.005;
  options.distill.teacher = teacher;
  ASSERT_TRUE(Train(options, sink).ok());
  EXPECT_THAT(LossesToldOf(last), ElementsAre("loss/all", "loss/balance", "loss/uncertainty",
                                              "loss/distill", "loss/rain"));
  EXPECT_GT(last.uncertainty.value_or(0), 0);
  EXPECT_LT(last.uncertainty.value_or(1), 0.1);
  EXPECT_GT(last.distill.value_or(0), 0);
  EXPECT_LT(last.distill.value_or(1), last.loss);  // it started from the teacher
}

// --- resume ---

struct ResumeCase {
  TrainPrecision precision;
  int accumulate;
  Calibration calibration = Calibration::kNone;
  double uncertainty_weight = 0;
};

class ResumeTest : public testing::TestWithParam<ResumeCase> {};

TEST_P(ResumeTest, ResumeGoesOnAsIfNothingHappened) {
  TrainOptions whole = TinyRun(NewFolder());
  whole.precision = GetParam().precision;
  whole.accumulate = GetParam().accumulate;
  whole.model.calibration = GetParam().calibration;
  whole.uncertainty_weight = GetParam().uncertainty_weight;
  ASSERT_TRUE(Train(whole, {}).ok());
  for (const int threads : {1, 3}) {
    TrainOptions parts = whole;
    parts.output_dir += std::to_string(threads);
    parts.data.loader_threads = threads;
    EXPECT_TRUE(absl::IsCancelled(Train(parts, {.stop = StopAfter(2)}).status()));
    EXPECT_EQ(LastState(parts).step, 2);
    int64_t resumed = 0;
    EXPECT_TRUE(absl::IsCancelled(
        Resume(parts, {.resumed = [&](int64_t step, const std::string&) { resumed = step; },
                       .stop = StopAfter(2)})
            .status()));
    EXPECT_EQ(resumed, 2);
    parts.data.loader_threads = 4 - threads;
    ASSERT_TRUE(Resume(parts).ok());
    EXPECT_TRUE(Content(whole) == Content(parts)) << threads;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Precisions, ResumeTest,
    testing::Values(ResumeCase{TrainPrecision::kF32, 1}, ResumeCase{TrainPrecision::kF32, 2},
                    ResumeCase{TrainPrecision::kBf16, 1},
                    ResumeCase{TrainPrecision::kF32, 2, Calibration::kConfidence, 0.005},
                    ResumeCase{TrainPrecision::kBf16, 1, Calibration::kPaper, 0.005}));

TEST(TrainTest, ResumeAfterTheLastStepWritesTheModel) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string model = Train(options, {}).value();
  std::filesystem::remove(model);
  int steps = 0;
  ASSERT_TRUE(Resume(options, {.progress = [&](const TrainProgress&) { ++steps; }}).ok());
  EXPECT_TRUE(LoadCheckpoint(model).ok());
  EXPECT_EQ(steps, 0);
}

TEST(TrainTest, StartsFromACheckpoint) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string model = Train(options, {}).value();
  options.init_from = model;
  EXPECT_TRUE(BeginState(options).ok());
  options.model.calibration = Calibration::kConfidence;  // the same weights
  options.model.router_passes = 7;
  options.model.router_dropout = 0.2;
  EXPECT_TRUE(BeginState(options).ok());
  options.model.embed_dim = 24;
  const auto other = BeginState(options);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(other.status()), HasSubstr("init_from is 'tiny', which is another network"));
}

TEST(TrainTest, TornCheckpointIsPassedOver) {
  TrainOptions options = TinyRun(NewFolder());
  options.checkpoint_every_steps = 2;
  ASSERT_TRUE(Train(options, {}).ok());
  const std::string expected = Content(options);
  Tear(Newest(options));
  std::vector<std::string> warnings;
  ASSERT_TRUE(
      Resume(options, {.warned = [&](const std::string& line) { warnings.push_back(line); }}).ok());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr(CheckpointPath(options.output_dir, 6))));
  EXPECT_TRUE(Content(options) == expected);
  Tear(Newest(options));
  options.checkpoint_every_steps = 100;
  options.steps = 8;
  ASSERT_TRUE(Resume(options).ok());
  EXPECT_THAT(Checkpoints(options), ElementsAre(CheckpointPath(options.output_dir, 8),
                                                CheckpointPath(options.output_dir, 4)));
}

TEST(TrainTest, NoWholeCheckpointIsNoReasonToBeginAnew) {
  TrainOptions options = TinyRun(NewFolder());
  ASSERT_TRUE(Train(options, {}).ok());
  Tear(CheckpointPath(options.output_dir, 3));
  Tear(CheckpointPath(options.output_dir, 6));
  const std::string torn = ReadFile(Newest(options)).value();
  const absl::Status status = Resume(options).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr(CheckpointPath(options.output_dir, 3)));
  EXPECT_THAT(Message(status), HasSubstr(CheckpointPath(options.output_dir, 6)));
  EXPECT_TRUE(ReadFile(Newest(options)).value() == torn);
}

TEST(TrainTest, ForeignFileIsNoCheckpoint) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string model = Train(options, {}).value();
  const std::string state = ReadFile(Newest(options)).value();
  for (const std::string& path : Checkpoints(options)) {
    std::filesystem::remove(path);
  }
  const std::string foreign = CheckpointPath(options.output_dir, 9);
  ASSERT_TRUE(WriteFileAtomically(foreign, ReadFile(model).value()).ok());
  EXPECT_THAT(Message(Resume(options).status()),
              HasSubstr("'" + foreign + "': it is not the checkpoint of a run"));
  ASSERT_TRUE(WriteFileAtomically(foreign, state).ok());
  EXPECT_THAT(Message(Resume(options).status()), HasSubstr("holds the state of step 6"));
  std::filesystem::rename(foreign, options.output_dir + "/checkpoints/mine.safetensors");
  EXPECT_THAT(Message(Resume(options).status()), HasSubstr("mine.safetensors' is no name"));
}

TEST(TrainTest, StateOfAnEarlierVersionIsRefused) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string old = options.output_dir + "/state.safetensors";
  std::filesystem::create_directories(options.output_dir);
  ASSERT_TRUE(WriteFileAtomically(old, "state").ok());
  const absl::Status status = Resume(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr(old));
}

TEST(TrainTest, AnotherConfigurationIsNotResumed) {
  TrainOptions options = TinyRun(NewFolder());
  ASSERT_TRUE(Train(options, {}).ok());
  options.batch = 3;
  options.optimizer.learning_rate = 1e-4;
  const absl::Status status = Resume(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("batch was '2' and is now '3'; "
                                         "optimizer.learning_rate was '0.001' and is now '1e-04'"));
}

TEST(TrainTest, MoreStepsAndOtherPicturesMayFollowAndAreTold) {
  TrainOptions options = TinyRun(NewFolder());
  ASSERT_TRUE(Train(options, {}).ok());
  options.steps = 8;
  WritePictures(options.data.clean[0].dir, 3);
  std::vector<std::string> warnings;
  ASSERT_TRUE(
      Resume(options, {.warned = [&](const std::string& line) { warnings.push_back(line); }}).ok());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("the pictures in the folders of data"),
                                    HasSubstr("steps was '6' and is now '8'")));
  EXPECT_EQ(LastState(options).step, 8);
}

TEST(TrainTest, TeacherMayBeMovedButNotReplaced) {
  const std::string folder = NewFolder();
  TrainOptions options = TinyRun(folder);
  const std::string teacher = folder + "/teacher.safetensors";
  const auto save = [&](const std::string& path, uint64_t seed) {
    const Parameters weights = InitialParameters(options.model, seed);
    ASSERT_TRUE(SaveCheckpoint(path, options.model, weights, {}).ok());
  };
  save(teacher, 9);
  options.distill.teacher = teacher;
  ASSERT_TRUE(Train(options, {}).ok());
  options.steps = 7;
  save(teacher, 8);
  EXPECT_THAT(Message(Resume(options).status()), HasSubstr("distill.teacher_version was '"));
  std::filesystem::remove(teacher);
  EXPECT_THAT(Message(Resume(options).status()), HasSubstr("distill.teacher: "));
  options.distill.teacher = folder + "/moved.safetensors";
  save(options.distill.teacher, 9);
  EXPECT_TRUE(Resume(options).ok());
  EXPECT_EQ(LastState(options).step, 7);
}

TEST(TrainTest, MovedPicturesMayBeResumedAndAreTold) {
  const std::string folder = NewFolder();
  TrainOptions options = TinyRun(folder);
  ASSERT_TRUE(absl::IsCancelled(Train(options, {.stop = StopAfter(3)}).status()));
  std::filesystem::rename(folder + "/clean", folder + "/moved");
  options.data.clean[0].dir = folder + "/moved";
  std::vector<std::string> warnings;
  ASSERT_TRUE(Resume(options, {.warned = Keep(warnings)}).ok());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("data.clean[0].dir was")));
}

TEST(TrainTest, ModelsWithoutCheckpointsAreNotOverwritten) {
  TrainOptions options = TinyRun(NewFolder());
  const std::string model = Train(options, {}).value();
  const std::string best = BestModelPath(options.output_dir, options.name);
  std::filesystem::remove_all(options.output_dir + "/checkpoints");
  for (const std::string& path : {model, best}) {
    if (path == best) std::filesystem::rename(model, best);
    for (const bool resume : {false, true}) {
      options.resume = resume;
      const absl::Status status = Train(options, {}).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
      EXPECT_THAT(Message(status), HasSubstr("'" + path + "'"));
    }
  }
}

TEST(TrainTest, AnEarlierRunIsNotOverwritten) {
  TrainOptions options = TinyRun(NewFolder());
  ASSERT_TRUE(Train(options, {}).ok());
  const auto again = Train(options, {});
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Message(again.status()), HasSubstr(Newest(options)));
}

TEST(TrainTest, SecondRunInTheSameFolderIsRefused) {
  TrainOptions options = TinyRun(NewFolder());
  absl::Status second;
  ASSERT_TRUE(
      Train(options, {.progress = [&](const TrainProgress&) { second = Resume(options).status(); }})
          .ok());
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(second), HasSubstr(options.output_dir + "/.lock"));
}

// --- checkpoints ---

TEST(TrainTest, NewestCheckpointsAreKeptAndTold) {
  TrainOptions options = TinyRun(NewFolder());
  options.checkpoint_every_steps = 1;
  options.keep_checkpoints = 3;
  const std::string stray = options.output_dir + "/tiny.safetensors.partial.0123456789abcdef";
  std::filesystem::create_directories(options.output_dir);
  ASSERT_TRUE(WriteFileAtomically(stray, "half").ok());
  std::vector<int64_t> saved;
  ASSERT_TRUE(Train(options, {.saved =
                                  [&](int64_t step, const std::string& path) {
                                    saved.push_back(step);
                                    EXPECT_EQ(path, CheckpointPath(options.output_dir, step));
                                  }})
                  .ok());
  EXPECT_THAT(saved, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(Checkpoints(options).size(), 3);
  EXPECT_FALSE(std::filesystem::exists(stray));
}

// A disk without room: files may not grow beyond 4 KB.
void FillDisk(bool full) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlim_t most = full ? 4096 : RLIM_INFINITY;
  const rlimit limit = {most, RLIM_INFINITY};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(TrainTest, FullDiskIsWarnedOfAndThePreviousCheckpointStays) {
  TrainOptions options = TinyRun(NewFolder());
  options.checkpoint_every_steps = 1;
  options.keep_checkpoints = 1;
  std::vector<std::string> warnings;
  const auto model =
      Train(options, {.progress = [&](const TrainProgress& at) { FillDisk(at.step == 3); },
                      .warned =
                          [&](const std::string& line) {
                            warnings.push_back(line);
                            EXPECT_EQ(LastState(options).step, 2);
                          }});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("nothing saved at step 3: cannot write")));
  EXPECT_THAT(Checkpoints(options), ElementsAre(CheckpointPath(options.output_dir, 6)));
}

TEST(TrainTest, FullDiskAtTheEndFails) {
  TrainOptions options = TinyRun(NewFolder());
  const auto model =
      Train(options, {.progress = [&](const TrainProgress& at) { FillDisk(at.step == 6); }});
  FillDisk(false);
  EXPECT_FALSE(model.ok());
  EXPECT_EQ(LastState(options).step, 3);
  EXPECT_TRUE(Resume(options).ok());
}

// --- steps that cannot be learned from ---

// A network whose head overflows on a bright picture and lets a dark one pass.
TrainOptions AfraidOfLight(const std::string& folder) {
  TrainOptions options = TinyRun(folder);
  TrainState state = BeginState(options).value();
  const auto fill = [&](const std::string& name, double value) {
    state.average.at(name) = at::full_like(state.average.at(name), value);
  };
  fill("head.conv.weight", 1);
  fill("head.conv.bias", 0);
  fill("head.block0.conv0.weight", 1e30);
  fill("head.block0.conv0.bias", 0);
  fill("head.block0.conv1.weight", 1e30);
  options.init_from = folder + "/init.safetensors";
  EXPECT_TRUE(SaveCheckpoint(options.init_from, options.model, state.average, {}).ok());
  options.batch = 1;
  options.data.clean[0].untouched_share = 1;
  return options;
}

Image Grey(uint8_t value) {
  Image image = Picture(40, 40, 0);
  std::fill(image.samples.begin(), image.samples.end(), value);
  return image;
}

TEST(TrainTest, StepsThatAreNotFiniteAreSkippedAndCounted) {
  TrainOptions options = AfraidOfLight(NewFolder());
  WritePicture(options.data.clean[0].dir + "/0.png", Grey(20));
  WritePicture(options.data.clean[0].dir + "/1.png", Grey(220));
  options.steps = 20;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  std::vector<float> input(dataset->crop_elements()), truth = input;
  int64_t bright = 0;
  for (int64_t step = 0; step < options.steps; ++step) {
    ASSERT_TRUE(dataset->Load(step, 0, input.data(), truth.data()).ok());
    bright += input[0] > 0.5;
  }
  ASSERT_GT(bright, 2);
  int64_t counted = 0;
  std::vector<std::string> warnings;
  const auto model =
      Train(options, {.progress = [&](const TrainProgress& at) { counted = at.bad_steps; },
                      .warned = [&](const std::string& line) { warnings.push_back(line); }});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(counted, bright);
  EXPECT_THAT(warnings, testing::Each(HasSubstr("is skipped: the loss is")));
  EXPECT_TRUE(LoadCheckpoint(*model).ok());
}

TEST(TrainTest, MeansOverSkippedStepsAreNoNumbers) {
  TrainOptions options = AfraidOfLight(NewFolder());
  for (const char* name : {"/0.png", "/1.png"}) {
    WritePicture(options.data.clean[0].dir + name, Grey(220));
  }
  options.steps = 2;
  TrainProgress last;
  ASSERT_TRUE(Train(options, {.progress = [&](const TrainProgress& at) { last = at; }}).ok());
  EXPECT_EQ(last.bad_steps, 2);
  EXPECT_TRUE(std::isnan(last.loss));
  EXPECT_TRUE(std::isnan(last.balance));
  EXPECT_TRUE(std::isnan(last.gradient_norm));
}

TEST(TrainTest, TooManyBadStepsInARowEndTheRunAndTheCheckpointStays) {
  TrainOptions options = AfraidOfLight(NewFolder());
  options.max_bad_steps = 3;
  options.steps = 20;
  options.checkpoint_every_steps = 100;
  for (const char* name : {"/0.png", "/1.png"}) {
    WritePicture(options.data.clean[0].dir + name, Grey(20));
  }
  ASSERT_TRUE(absl::IsCancelled(Train(options, {.stop = StopAfter(2)}).status()));
  const std::string good = ReadFile(Newest(options)).value();
  for (const char* name : {"/0.png", "/1.png"}) {
    WritePicture(options.data.clean[0].dir + name, Grey(220));
  }
  const absl::Status status = Resume(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(status), HasSubstr("step 6 is skipped: the loss is"));
  EXPECT_THAT(Message(status), HasSubstr("4 in a row, max_bad_steps is 3; '" + Newest(options)));
  EXPECT_TRUE(ReadFile(Newest(options)).value() == good);
}

// --- pictures ---

TEST(TrainTest, UnreadablePictureIsToldOnceAndCounted) {
  TrainOptions options = TinyRun(NewFolder());
  ASSERT_TRUE(WriteFileAtomically(options.data.clean[0].dir + "/1.png", "torn").ok());
  options.steps = 12;
  int64_t skipped = 0;
  std::vector<std::string> warnings;
  ASSERT_TRUE(
      Train(options, {.progress = [&](const TrainProgress& at) { skipped = at.skipped_pictures; },
                      .warned = [&](const std::string& line) { warnings.push_back(line); }})
          .ok());
  EXPECT_EQ(skipped, 1);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("clean/1.png")));
}

TEST(TrainTest, TooManyUnreadablePicturesEndTheRunAfterACheckpoint) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 200;
  options.checkpoint_every_steps = 1000;
  options.data.cache_mebibytes = 0;
  options.data.max_unreadable = 1;
  const auto tear = [&](const TrainProgress& at) {
    for (const char* name : {"/0.png", "/1.png"}) {
      if (at.step == 4) Tear(options.data.clean[0].dir + name);
    }
  };
  const absl::Status status = Train(options, {.progress = tear}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("2 pictures cannot be read; data.max_unreadable is 1"));
  EXPECT_GE(LastState(options).step, 4);
}

// --- evaluation ---

TrainOptions Measured(const std::string& folder) {
  TrainOptions options = TinyRun(folder);
  for (const char* set : {"/a", "/b"}) {
    WritePictures(folder + set + "/input", 1);
    WritePictures(folder + set + "/gt", 1);
    options.evaluate.pairs_dirs.push_back(folder + set);
  }
  options.evaluate.every_steps = 4;
  options.checkpoint_every_steps = 5;  // each evaluation is of its own step all the same
  return options;
}

// "4a" for an evaluation of set a at step 4.
std::function<void(int64_t, const Evaluation&)> Note(std::vector<std::string>& notes) {
  return [&notes](int64_t step, const Evaluation& evaluation) {
    notes.push_back(std::to_string(step) + evaluation.set.name);
    EXPECT_EQ(evaluation.input.psnr_rgb, 100);
  };
}

TEST(TrainTest, EvaluatesEverySetWhileItTrains) {
  const TrainOptions options = Measured(NewFolder());
  std::vector<std::string> notes;
  const auto saved = [&](int64_t step, const auto&) {
    notes.push_back(std::to_string(step) + " saved");
  };
  ASSERT_TRUE(Train(options, {.evaluated = Note(notes), .saved = saved}).ok());
  EXPECT_THAT(notes, ElementsAre("4a", "4b", "4 saved", "5 saved", "6a", "6b", "6 saved"));
}

TEST(TrainTest, EvaluationThatAStopPreventedIsMadeUpFor) {
  const TrainOptions options = Measured(NewFolder());
  std::vector<std::string> notes;
  ASSERT_TRUE(
      absl::IsCancelled(Train(options, {.evaluated = Note(notes), .stop = StopAfter(4)}).status()));
  EXPECT_THAT(notes, IsEmpty());
  ASSERT_TRUE(Resume(options, {.evaluated = Note(notes)}).ok());
  EXPECT_THAT(notes, ElementsAre("4a", "4b", "6a", "6b"));
}

TEST(TrainTest, StepIsSavedBeforeItsEvaluation) {
  TrainOptions options = Measured(NewFolder());
  options.evaluate.every_steps = 0;
  std::vector<int64_t> saved;
  const auto look = [&, last = int64_t{0}](int64_t step) mutable {
    if (step == last) saved.push_back(LastState(options).step);
    last = step;
    return false;
  };
  ASSERT_TRUE(Train(options, {.stop = look}).ok());
  EXPECT_THAT(saved, AllOf(SizeIs(Ge(2)), Each(6)));
}

TEST(TrainTest, EvaluationIsStoppedAndMadeUpFor) {
  const TrainOptions options = Measured(NewFolder());
  std::vector<std::string> notes;
  const absl::Status status =
      Train(options, {.evaluated = Note(notes), .stop = StopAfter(5)}).status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(Message(status), "stopped at step 4");
  EXPECT_EQ(LastState(options).step, 4);
  EXPECT_THAT(notes, IsEmpty());
  ASSERT_TRUE(Resume(options, {.evaluated = Note(notes)}).ok());
  EXPECT_THAT(notes, ElementsAre("4a", "4b", "6a", "6b"));
}

// The first step with the largest mean of PSNR-RGB over two sets.
int64_t TrainAndFindBest(const TrainOptions& options) {
  std::map<int64_t, double> psnr;
  const auto note = [&](int64_t step, const Evaluation& e) { psnr[step] += e.restored.psnr_rgb; };
  EXPECT_EQ(Train(options, {.evaluated = note}).value(),
            options.output_dir + "/tiny-best.safetensors");
  EXPECT_EQ(psnr.size(), 6);
  return std::max_element(psnr.begin(), psnr.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

int64_t StepOfModel(const TrainOptions& options, const std::string& file) {
  const auto model = LoadCheckpoint(options.output_dir + "/" + file);
  EXPECT_TRUE(model.ok()) << model.status();
  return std::stoll(model->metadata.at("steps"));
}

// Inputs equal truths here, so that a bias on all pixels is what there is to unlearn.
TEST(TrainTest, BestModelIsKeptAndReturned) {
  const std::string folder = NewFolder();
  TrainOptions options = Measured(folder);
  options.evaluate.every_steps = 1;
  options.optimizer.learning_rate = 5e-3;
  options.ema_decay = 0;
  EXPECT_LT(TrainAndFindBest(options), 6);
  EXPECT_EQ(StepOfModel(options, "tiny.safetensors"), 6);

  TrainState state = BeginState(options).value();
  state.average.at("tail.conv1.bias") = at::full_like(state.average.at("tail.conv1.bias"), 0.2);
  options.init_from = folder + "/init.safetensors";
  ASSERT_TRUE(SaveCheckpoint(options.init_from, options.model, state.average, {}).ok());
  options.output_dir += "_improving";
  const int64_t best = TrainAndFindBest(options);
  EXPECT_GT(best, 1);
  EXPECT_EQ(StepOfModel(options, "tiny-best.safetensors"), best);
  EXPECT_EQ(LastState(options).evaluations.best_step, best);
  EXPECT_EQ(LastState(options).evaluations.stale, 6 - best);

  options.evaluate.pairs_dirs.pop_back();  // what was best over other sets is no measure
  options.steps = 7;
  ASSERT_TRUE(Resume(options).ok());
  EXPECT_GE(LastState(options).evaluations.best_step, 6);
}

// At this learning rate what comes first is best.
TEST(TrainTest, BestModelOutlivesAChangeOfTheSets) {
  TrainOptions options = Measured(NewFolder());
  options.optimizer.learning_rate = 1e-9;
  options.optimizer.min_learning_rate = 0;
  const std::string best = Train(options, {}).value();
  EXPECT_EQ(StepOfModel(options, "tiny-best.safetensors"), 4);
  std::vector<std::string> warnings;
  const TrainSink sink = {.warned = Keep(warnings)};
  TrainOptions other = options;
  for (std::string& dir : other.evaluate.pairs_dirs)
    dir = "x" + dir.substr(dir.size() - 1) + "=" + dir + "//";
  EXPECT_EQ(Resume(other, sink).value(), best);
  other.evaluate = {};
  EXPECT_EQ(Resume(other, sink).value(), best);
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(LastState(options).evaluations.best_step, 4);
  options.evaluate.pairs_dirs.pop_back();
  EXPECT_EQ(Resume(options, sink).value(), best);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("evaluate.pairs_dir has changed")));
  EXPECT_EQ(StepOfModel(options, "tiny-best-4.safetensors"), 4);
  EXPECT_EQ(StepOfModel(options, "tiny-best.safetensors"), 6);
}

TEST(TrainTest, BestModelThatIsGoneIsNotNamed) {
  const TrainOptions options = Measured(NewFolder());
  const std::string best = Train(options, {}).value();
  std::filesystem::remove(best);
  std::vector<std::string> warnings;
  EXPECT_EQ(Resume(options, {.warned = Keep(warnings)}).value(),
            ModelPath(options.output_dir, options.name));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("'" + best + "'")));
}

// At this learning rate no pixel changes, and what is as good is not better.
// --- sheets ---

// Of a picture in the run's folder; zeros: there is none.
std::pair<int, int> SizeOf(const TrainOptions& options, const std::string& name) {
  const absl::StatusOr<Image> picture = DecodeFile(options.output_dir + "/" + name);
  return picture.ok() ? std::pair(picture->width, picture->height) : std::pair(0, 0);
}

TEST(TrainTest, ShowsWhatItLearnsFrom) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 1;
  ASSERT_TRUE(Train(options, {}).ok());
  const auto [width, height] = SizeOf(options, "crops.png");
  EXPECT_GT(width, 4 * options.data.crop_px);  // two crops, two truths
  EXPECT_GT(height, options.data.crop_px);
  EXPECT_EQ(SizeOf(options, "comparison.png"), std::pair(0, 0));  // nothing is measured
}

TEST(TrainTest, ShowsCropsAsTheLoaderMakesThem) {
  TrainOptions options = TinyRun(NewFolder());
  options.batch = 16;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  const std::vector<SheetRow> rows = CropSheet(options, *dataset).value();
  EXPECT_THAT(rows, AllOf(SizeIs(4), Each(testing::Field(&SheetRow::cells, SizeIs(6)))));
  std::vector<float> input(dataset->crop_elements()), truth(dataset->crop_elements());
  const CropNote note = dataset->Load(0, 4, input.data(), truth.data()).value();
  EXPECT_EQ(rows[1].cells[2].caption, dataset->tasks()[note.task]);
  EXPECT_EQ(rows[1].cells[3].caption, "truth");
  const Image& shown = rows[1].cells[2].picture;  // crop 4
  ASSERT_EQ(shown.samples.size(), input.size());
  for (size_t i = 0; i < input.size(); ++i) {
    const size_t plane = input.size() / 3;
    ASSERT_EQ(shown.samples[i], std::lround(255 * input[i % 3 * plane + i / 3])) << i;
  }
}

TEST(TrainTest, ShowsTheBestModelsPicturesWhenThereIsABetterOne) {
  TrainOptions options = Measured(NewFolder());
  options.optimizer.learning_rate = 1e-9;  // what comes first is best
  options.optimizer.min_learning_rate = 0;
  std::vector<int64_t> shown;
  const auto look = [&](int64_t step) {
    if (std::filesystem::remove(options.output_dir + "/comparison.png")) shown.push_back(step);
    return false;
  };
  ASSERT_TRUE(Train(options, {.stop = look}).ok());
  EXPECT_THAT(shown, ElementsAre(5));  // after the evaluation of step 4, not that of 6
  options.output_dir += "_2";
  ASSERT_TRUE(Train(options, {}).ok());
  const auto [width, height] = SizeOf(options, "comparison.png");
  EXPECT_GT(width, 3 * 96);   // input, restored, truth
  EXPECT_GT(height, 2 * 64);  // of two sets
}

TEST(TrainTest, SheetsThatCannotBeWrittenAreWarnedOf) {
  const TrainOptions options = Measured(NewFolder());
  for (const char* name : {"/crops.png", "/comparison.png"}) {
    std::filesystem::create_directories(options.output_dir + name);
  }
  std::vector<std::string> warnings;
  ASSERT_TRUE(Train(options, {.warned = Keep(warnings)}).ok());
  ASSERT_THAT(warnings, SizeIs(Ge(2)));
  EXPECT_THAT(warnings[0], HasSubstr("/crops.png' not written"));
  EXPECT_THAT(warnings[1], HasSubstr("/comparison.png' not written"));
}

TEST(TrainTest, StopWhileASheetIsDrawnEndsTheRunAndTheEvaluationStands) {
  const TrainOptions options = Measured(NewFolder());
  std::vector<std::string> notes;
  // Asked after steps 1 to 4, two pictures read and restored, and the sheet's first.
  const absl::Status status =
      Train(options, {.evaluated = Note(notes), .stop = StopAfter(9)}).status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_THAT(notes, ElementsAre("4a", "4b"));
  EXPECT_EQ(SizeOf(options, "comparison.png"), std::pair(0, 0));
  ASSERT_TRUE(Resume(options, {.evaluated = Note(notes)}).ok());
  EXPECT_THAT(notes, ElementsAre("4a", "4b", "6a", "6b"));
}

TEST(TrainTest, PatienceEndsTheRunOnceAndForAll) {
  TrainOptions options = Measured(NewFolder());
  options.evaluate.every_steps = 1;
  options.evaluate.patience = 2;
  options.optimizer.learning_rate = 1e-9;
  options.optimizer.min_learning_rate = 0;
  ASSERT_TRUE(Train(options, {}).ok());
  EXPECT_EQ(LastState(options).step, 3);
  EXPECT_EQ(StepOfModel(options, "tiny-best.safetensors"), 1);
  EXPECT_EQ(Resume(options).value(), options.output_dir + "/tiny-best.safetensors");
  EXPECT_EQ(LastState(options).step, 3);
}

TEST(TrainTest, EvaluationSetsAreCheckedAtTheStart) {
  TrainOptions options = Measured(NewFolder());
  int steps = 0;
  const TrainSink sink = {.progress = [&](const TrainProgress&) { ++steps; }};
  options.evaluate.pairs_dirs[1] = "x=" + options.evaluate.pairs_dirs[0];
  options.evaluate.pairs_dirs[0] = "x=" + options.evaluate.pairs_dirs[0];
  EXPECT_THAT(Message(Train(options, sink).status()), HasSubstr("pairs_dir are named 'x'"));
  options.evaluate.pairs_dirs = {"absent"};
  EXPECT_EQ(Train(options, sink).status().code(), absl::StatusCode::kNotFound);
  options.evaluate.pairs_dirs = {"a b=absent"};
  EXPECT_THAT(Message(Train(options, sink).status()),
              HasSubstr("evaluate.pairs_dir is 'a b=absent': name of a set"));
  const std::string pairs = options.output_dir + "/../a";
  options.evaluate.pairs_dirs = {pairs};
  WritePicture(pairs + "/gt/0.png", Picture(20, 20, 0));
  EXPECT_THAT(Message(Train(options, sink).status()), HasSubstr(pairs + "/gt/0.png"));
  EXPECT_EQ(steps, 0);
}

TEST(TrainTest, EvaluationSetsAreNamedAfterTheTasksOfANetworkThatHasThem) {
  TrainOptions options = Measured(NewFolder());
  options.model.tasks = {"rain", "snow"};
  options.evaluate.pairs_dirs = {"haze=" + options.evaluate.pairs_dirs[0]};
  EXPECT_THAT(Message(Train(options, {}).status()),
              testing::MatchesRegex("evaluate.pairs_dir is 'haze=.*': unknown task 'haze'; known: "
                                    "rain, snow"));
}

TEST(TrainTest, FailedEvaluationNamesItsStep) {
  const TrainOptions options = Measured(NewFolder());
  const std::string truth = options.evaluate.pairs_dirs[0] + "/gt/0.png";
  const auto tear = [&](const TrainProgress& at) {
    if (at.step == 4) Tear(truth);
  };
  const absl::Status status = Train(options, {.progress = tear}).status();
  EXPECT_THAT(Message(status), testing::StartsWith("evaluation after step 4: '" + truth));
  EXPECT_EQ(LastState(options).step, 4);
}

TEST(TrainTest, BadOptionsNameValueAndLimit) {
  TrainOptions options = TinyRun(NewFolder());
  options.data.crop_px = 30;
  EXPECT_THAT(Message(Train(options, {}).status()),
              HasSubstr("data.crop_px is 30; it must be a multiple of the patch, 8"));
  options.data.crop_px = 32;
  options.batch = 0;
  EXPECT_THAT(Message(Train(options, {}).status()),
              HasSubstr("batch is 0; it must be in [1, 4096]"));
  options.batch = 1;
  options.output_dir = "/dev/null/out";
  EXPECT_THAT(Message(Train(options, {}).status()), HasSubstr("/dev/null/out"));
}

}  // namespace
}  // namespace deweather
