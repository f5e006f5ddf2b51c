#include "training/train.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/device.h"
#include "model/torch_errors.h"
#include "training/crop_sheet.h"
#include "training/dataset.h"
#include "training/lead.h"
#include "training/learn.h"
#include "training/loader.h"
#include "training/ranks.h"
#include "training/report/sheet.h"
#include "training/resume.h"
#include "training/run_fields.h"
#include "training/run_folder.h"
#include "training/schedule.h"
#include "training/tile_pass.h"
#include "training/train_state.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr int kSheetWorst = 2;  // pictures of a set, beside its median and its best

// Sums between two progress lines.
struct Window {
  int64_t steps = 0;  // that learned
  int64_t passes = 0;
  double loss = 0;
  double balance = 0;
  double uncertainty = 0;
  double distill = 0;
  double gradient_norm = 0;
  std::map<int, std::pair<double, double>> tasks;  // sum of losses, crops
  int64_t images = 0;
  absl::Duration waiting;
  absl::Time begin = absl::Now();

  void Add(const PassLoss& pass, const Batch& batch) {
    ++passes;
    loss += pass.weighted;
    balance += pass.balance;
    uncertainty += pass.uncertainty;
    distill += pass.distill;
    for (size_t i = 0; i < batch.notes.size(); ++i) {
      auto& [sum, crops] = tasks[batch.notes[i].task];
      sum += pass.crop_losses[i];
      ++crops;
    }
  }
};

absl::Status Annotate(const absl::Status& status, std::string_view where) {
  return {status.code(), absl::StrCat(std::string(where), ": ", std::string(status.message()))};
}

// What is measured, the same however the folders are written.
std::set<std::string> Truths(const std::vector<std::string>& pairs_dirs) {
  std::set<std::string> truths;
  for (const std::string& text : pairs_dirs) {
    const absl::StatusOr<PairSet> set = ParsePairSet(text);
    std::error_code ignored;
    const fs::path path = fs::absolute((set.ok() ? set->dir : text) + "/gt", ignored);
    truths.insert(path.lexically_normal().string());
  }
  return truths;
}

// What a rank needs before it can say that it has what the others have.
struct Opened {
  std::optional<RunLock> lock;  // rank 0's
  std::unique_ptr<Dataset> dataset;
  std::optional<Teacher> teacher;
  RunFields fields;
};

class Run {
 public:
  Run(const TrainOptions& options, const TrainSink& sink, Opened opened, at::Device device,
      Ranks& ranks)
      : options_(options),
        sink_(sink),
        opened_(std::move(opened)),
        dataset_(*opened_.dataset),
        device_(device),
        ranks_(ranks) {}

  absl::Status Begin() {
    DW_RETURN_IF_ERROR(CheckSets());
    if (ranks_.first()) DW_RETURN_IF_ERROR(BeginHere());
    DW_RETURN_IF_ERROR(ShareState());
    MoveTo(device_, state_);
    ranks_.AverageGradientsOf(InOrderOfGradients(options_.model, state_.weights));
    earlier_ = state_.elapsed;
    if (!checkpoint_.empty() && sink_.resumed) sink_.resumed(state_.step, checkpoint_);
    return absl::OkStatus();
  }

  absl::Status Go() {
    // An earlier attempt may have ended between a step and what follows it.
    if (state_.step > 0 && (Over() || EvaluationDue())) DW_RETURN_IF_ERROR(Settle(false));
    if (Over()) return absl::OkStatus();
    if (state_.step == 0 && ranks_.first()) ShowCrops();
    Loader loader(options_, dataset_, state_.step, ranks_.rank(), ranks_.count());
    while (!Over()) {
      DW_RETURN_IF_ERROR(Step(loader));
      const bool stopped = AnyAskedToStop();
      if (stopped || Over() || Due(options_.log_every_steps)) Report();
      DW_RETURN_IF_ERROR(Settle(stopped));
    }
    return absl::OkStatus();
  }

  // What was learned so far outlives pictures that cannot be read, and ranks that are lost.
  absl::Status SaveAfter(const absl::Status& failure) {
    if (state_.step == 0 || !ranks_.first()) return failure;
    const absl::Status saved = SaveAndTell();
    if (!saved.ok()) Warn(absl::StrCat("no checkpoint: ", saved.message()));
    return failure;
  }

  std::string FinishedModel() const {
    return state_.evaluations.best_step < 0 ? ModelPath(options_.output_dir, options_.name)
                                            : BestPath();
  }

  // What is under way, for an error.
  std::string Doing() const {
    return settling_ ? absl::StrCat("the evaluation and checkpoint after step ", state_.step)
                     : absl::StrCat("step ", state_.step + 1);
  }

 private:
  // Every picture that will be measured can be: tried at the start, not after hours.
  absl::Status CheckSets() {
    if (options_.evaluate.pairs_dirs.empty()) return absl::OkStatus();
    const auto check = [&](const TellBusy& busy) -> absl::StatusOr<std::string> {
      const auto go_on = [&] { return busy(), false; };
      for (const std::string& text : options_.evaluate.pairs_dirs) {
        DW_ASSIGN_OR_RETURN(const PairSet set, ParsePairSet(text));
        DW_RETURN_IF_ERROR(CheckPairs(set, go_on));
      }
      return "";
    };
    return Lead(ranks_, options_.rank_timeout, check).status();
  }

  absl::Status BeginHere() {
    DW_ASSIGN_OR_RETURN(Beginning beginning, BeginOrResume(options_, opened_.fields,
                                                           [&](const auto& line) { Warn(line); }));
    ranks_.TellBegun(options_.output_dir);
    state_ = std::move(beginning.state);
    checkpoint_ = beginning.checkpoint;
    torn_ = beginning.torn;
    ForgetLostBest();
    if (options_.evaluate.pairs_dirs.empty()) return absl::OkStatus();
    return MeasureOver(Sets());
  }

  // All ranks go on from what rank 0 has.
  absl::Status ShareState() {
    if (ranks_.count() == 1) return absl::OkStatus();
    std::string bytes;
    if (ranks_.first()) {
      DW_ASSIGN_OR_RETURN(bytes, SerializeState(options_.model, state_, opened_.fields));
    }
    ranks_.Share(bytes);
    if (ranks_.first()) return absl::OkStatus();
    DW_ASSIGN_OR_RETURN(SavedState saved, ParseState(bytes));
    state_ = std::move(saved.state);
    return absl::OkStatus();
  }

  const Network* teacher() const { return opened_.teacher ? &opened_.teacher->network : nullptr; }

  bool Due(int64_t every) const { return every > 0 && state_.step % every == 0; }
  bool Over() const {
    return state_.step >= options_.steps || state_.elapsed >= options_.max_time || Impatient();
  }
  bool Impatient() const {
    return options_.evaluate.patience > 0 && !options_.evaluate.pairs_dirs.empty() &&
           state_.evaluations.stale >= options_.evaluate.patience;
  }
  bool EvaluationDue() const {
    return !options_.evaluate.pairs_dirs.empty() && state_.evaluations.last_step != state_.step &&
           (Over() || Due(options_.evaluate.every_steps));
  }

  bool AskedToStop() {
    busy_();
    return sink_.stop && sink_.stop(state_.step);
  }

  // After a step. The time that it took is rank 0's on all: schedules depend on it.
  bool AnyAskedToStop() {
    double stop = sink_.stop && sink_.stop(state_.step) ? 1 : 0;
    if (ranks_.count() == 1) return stop > 0;
    double seconds = ranks_.first() ? absl::ToDoubleSeconds(state_.elapsed) * ranks_.count() : 0;
    ranks_.Average({&stop, &seconds});
    state_.elapsed = absl::Seconds(seconds);
    return stop > 0;
  }

  absl::Status Stopped() const {
    return absl::CancelledError(absl::StrCat("stopped at step ", state_.step));
  }

  void Warn(const std::string& line) const {
    if (sink_.warned) sink_.warned(line);
  }

  std::string BestPath() const { return BestModelPath(options_.output_dir, options_.name); }
  // As a checkpoint remembers them.
  std::string Sets() const {
    return absl::CHexEscape(absl::StrJoin(options_.evaluate.pairs_dirs, "\n"));
  }

  void ForgetLostBest() {
    std::error_code ignored;
    if (state_.evaluations.best_step < 0 || fs::exists(BestPath(), ignored)) return;
    Warn(absl::StrFormat(
        "'%s', the best of %d steps, is gone: the next that is measured takes its place",
        BestPath(), state_.step));
    state_.evaluations.best_step = -1;
  }

  // Figures over other sets cannot be compared: what was best over those is kept under another name.
  absl::Status MeasureOver(const std::string& sets) {
    EvaluationHistory& history = state_.evaluations;
    std::string before;
    absl::CUnescape(history.sets, &before);
    if (Truths(absl::StrSplit(before, '\n')) != Truths(options_.evaluate.pairs_dirs)) {
      if (history.best_step >= 0) DW_RETURN_IF_ERROR(SetBestAside());
      history = {};
    }
    history.sets = sets;
    return absl::OkStatus();
  }

  absl::Status SetBestAside() const {
    const std::string aside =
        BestModelPath(options_.output_dir, options_.name, state_.evaluations.best_step);
    Warn(absl::StrFormat("evaluate.pairs_dir has changed: the best model so far becomes '%s'",
                         aside));
    std::error_code error;
    fs::rename(BestPath(), aside, error);
    if (!error) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrFormat("cannot rename '%s': %s", BestPath(), error.message()));
  }

  absl::StatusOr<const Batch*> Take(Loader& loader) {
    const absl::Time begin = absl::Now();
    const absl::StatusOr<const Batch*> batch = loader.Next();
    window_.waiting += absl::Now() - begin;
    for (const std::string& line : dataset_.TakeSkipped()) {
      ++skipped_pictures_;
      Warn("picture skipped: " + line);
    }
    return batch;
  }

  absl::Status Step(Loader& loader) {
    rate_ = LearningRate(options_.optimizer, state_.step,
                         Progress(state_.step, options_.steps, state_.elapsed, options_.max_time));
    std::string bad;
    for (int pass = 0; pass < options_.accumulate; ++pass) {
      const absl::StatusOr<const Batch*> batch = Take(loader);
      if (!batch.ok()) return SaveAfter(batch.status());
      if (!bad.empty()) continue;  // its crops are lost with the step
      const PassLoss loss = LearnFrom(options_, **batch, state_, teacher(), &ranks_);
      if (!std::isfinite(loss.total)) bad = absl::StrFormat("the loss is %g", loss.total);
      if (bad.empty()) window_.Add(loss, **batch);
    }
    window_.images += int64_t{options_.batch} * options_.accumulate * ranks_.count();
    if (bad.empty()) bad = Apply();
    state_.elapsed = earlier_ + (absl::Now() - begin_);
    return bad.empty() ? absl::OkStatus() : Skip(bad);
  }

  // Says what is bad about the gradient; empty: nothing.
  std::string Apply() {
    const double norm = ApplyGradients(options_, rate_, state_);
    if (!std::isfinite(norm)) return absl::StrFormat("the gradient's norm is %g", norm);
    ++window_.steps;
    window_.gradient_norm += norm;
    return "";
  }

  absl::Status Skip(const std::string& bad) {
    SkipStep(state_);
    const std::string what = absl::StrFormat("step %d is skipped: %s", state_.step, bad);
    if (state_.bad_in_row == 1 && ranks_.first()) Warn(what);
    if (state_.bad_in_row <= options_.max_bad_steps) return absl::OkStatus();
    return absl::InternalError(absl::StrFormat(
        "%s; %d in a row, max_bad_steps is %d; %s", what, state_.bad_in_row, options_.max_bad_steps,
        checkpoint_.empty() ? "there is no checkpoint"
                            : absl::StrFormat("'%s' is the last checkpoint", checkpoint_)));
  }

  // Of a window, what each rank counts by itself; the terms are means over ranks already.
  void AddUpRanks(int64_t& skipped_pictures) {
    if (ranks_.count() == 1) return;
    double skipped = static_cast<double>(skipped_pictures) * ranks_.count();
    std::vector<double*> values = {&skipped};
    for (size_t task = 0; task < dataset_.tasks().size(); ++task) {
      auto& [sum, crops] = window_.tasks[static_cast<int>(task)];
      values.insert(values.end(), {&sum, &crops});
    }
    ranks_.Average(values);
    skipped_pictures = std::llround(skipped);
    std::erase_if(window_.tasks, [](const auto& task) { return task.second.second == 0; });
  }

  void Report() {
    int64_t skipped_pictures = skipped_pictures_;
    AddUpRanks(skipped_pictures);
    const auto over = [](double sum, double count) {
      return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
    };
    const double seconds = absl::ToDoubleSeconds(absl::Now() - window_.begin);
    const auto passes = static_cast<double>(window_.passes);
    TrainProgress progress{
        .step = state_.step,
        .steps = options_.steps,
        .loss = over(window_.loss, passes),
        .task_loss = {},
        .balance = over(window_.balance, passes),
        .learning_rate = rate_,
        .gradient_norm = over(window_.gradient_norm, static_cast<double>(window_.steps)),
        .images_per_second = static_cast<double>(window_.images) / seconds,
        .waiting_share = absl::ToDoubleSeconds(window_.waiting) / seconds,
        .bad_steps = state_.bad_steps,
        .skipped_pictures = skipped_pictures,
        .elapsed = state_.elapsed};
    if (options_.uncertainty_weight > 0) {
      progress.uncertainty = over(window_.uncertainty, passes);
    }
    if (teacher()) progress.distill = over(window_.distill, passes);
    for (const auto& [task, sum] : window_.tasks) {
      progress.task_loss[dataset_.tasks()[task]] = over(sum.first, sum.second);
    }
    if (sink_.progress) sink_.progress(progress);
    window_ = Window{};
  }

  // What is due after a step, if anything is: on all ranks or on none. Not the window's time.
  absl::Status Settle(bool stopped) {
    const absl::Time begin = absl::Now();
    const absl::Cleanup stop_clock = [&] { window_.begin += absl::Now() - begin; };
    const bool measure = !stopped && EvaluationDue();
    if (!measure && !stopped && !Over() && !Due(options_.checkpoint_every_steps)) {
      return absl::OkStatus();
    }
    const auto settle = [&](const TellBusy& busy) -> absl::StatusOr<std::string> {
      busy_ = busy;
      DW_RETURN_IF_ERROR(SettleHere(stopped, measure));
      return absl::StrCat(state_.evaluations.last_step, " ", state_.evaluations.stale);
    };
    settling_ = true;
    const absl::StatusOr<std::string> outcome = Lead(ranks_, options_.rank_timeout, settle);
    settling_ = false;
    if (absl::IsCancelled(outcome.status())) return Stopped();
    DW_RETURN_IF_ERROR(outcome.status());
    return LearnOutcome(*outcome);
  }

  // Of rank 0's evaluations what says when the run is over.
  absl::Status LearnOutcome(const std::string& text) {
    EvaluationHistory& history = state_.evaluations;
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, ' ');
    if (absl::SimpleAtoi(parts.first, &history.last_step) &&
        absl::SimpleAtoi(parts.second, &history.stale)) {
      return absl::OkStatus();
    }
    return absl::InternalError(absl::StrFormat("rank 0 says '%s'", text));
  }

  // An evaluation and a checkpoint that remembers it. An evaluation takes long: no step is at its mercy, and
  // no model is there before the first checkpoint.
  absl::Status SettleHere(bool stopped, bool measure) {
    const bool due =
        Over() || Due(options_.checkpoint_every_steps) || (measure && checkpoint_.empty());
    if (measure && due) DW_RETURN_IF_ERROR(Tolerate(Save()));
    absl::Status done = stopped ? Stopped() : absl::OkStatus();
    if (measure) done = Measure();
    absl::Status saved;
    if (due || Over() || !done.ok()) saved = SaveAndTell();
    TellEvaluation();
    DW_RETURN_IF_ERROR(done.ok() ? Tolerate(saved) : saved);
    return done.ok() ? ShowBest() : done;
  }

  // A full disk is no reason to lose what is being learned; at the end it is.
  absl::Status Tolerate(const absl::Status& saved) const {
    if (saved.ok() || Over()) return saved;
    Warn(absl::StrFormat("nothing saved at step %d: %s", state_.step, saved.message()));
    return absl::OkStatus();
  }

  // The checkpoint first: where there is none, a model is another run's (resume.cc).
  absl::Status Save() {
    DW_ASSIGN_OR_RETURN(const std::string bytes,
                        SerializeState(options_.model, state_, opened_.fields));
    DW_RETURN_IF_ERROR(
        AddCheckpoint(options_.output_dir, state_.step, bytes, options_.keep_checkpoints, torn_));
    torn_.clear();
    checkpoint_ = CheckpointPath(options_.output_dir, state_.step);
    return SaveModel(ModelPath(options_.output_dir, options_.name));
  }

  absl::Status SaveAndTell() {
    DW_RETURN_IF_ERROR(Save());
    TellEvaluation();
    if (sink_.saved) sink_.saved(state_.step, checkpoint_);
    return absl::OkStatus();
  }

  absl::Status SaveModel(const std::string& path) const {
    return SaveCheckpoint(
        path, options_.model, state_.average,
        {{"steps", absl::StrCat(state_.step)}, {"seed", absl::StrCat(options_.seed)}});
  }

  absl::Status Measure() {
    const std::string model = ModelPath(options_.output_dir, options_.name);
    const absl::Status saved = SaveModel(model);
    if (!saved.ok()) return Tolerate(saved);
    std::vector<PairSet> sets;
    for (const std::string& dir : options_.evaluate.pairs_dirs) {
      DW_ASSIGN_OR_RETURN(sets.emplace_back(), ParsePairSet(dir));
    }
    EvaluationOptions how;
    how.load.device = device_.str();
    how.stop = [this] { return AskedToStop(); };
    absl::StatusOr<Comparison> comparison = Compare({model}, sets, how);
    if (absl::IsCancelled(comparison.status())) return Stopped();
    if (!comparison.ok()) {
      return Annotate(comparison.status(), absl::StrCat("evaluation after step ", state_.step));
    }
    double psnr = 0;
    for (const Evaluation& evaluation : comparison->evaluations) {
      psnr += evaluation.restored.psnr_rgb / static_cast<double>(sets.size());
    }
    untold_ = std::move(comparison->evaluations);
    return Remember(psnr);
  }

  // No run ends for want of a sheet.
  void Show(const std::string& name, const absl::StatusOr<std::vector<SheetRow>>& rows) const {
    const std::string path = absl::StrCat(options_.output_dir, "/", name);
    const absl::Status written = rows.ok() ? WriteSheet(path, *rows) : rows.status();
    if (!written.ok()) Warn(absl::StrFormat("'%s' not written: %s", path, written.message()));
  }

  void ShowCrops() { Show("crops.png", CropSheet(options_, dataset_)); }

  absl::Status ShowBest() {
    if (improved_.empty()) return absl::OkStatus();
    const absl::StatusOr<std::vector<SheetRow>> rows = SheetOf(
        BestPath(), std::exchange(improved_, {}), kSheetWorst, [this] { return AskedToStop(); });
    if (absl::IsCancelled(rows.status())) return Stopped();
    Show("comparison.png", rows);
    return absl::OkStatus();
  }

  // After the checkpoint that remembers it: a run that goes on from an earlier one measures again.
  void TellEvaluation() {
    for (const Evaluation& evaluation : std::exchange(untold_, {})) {
      if (sink_.evaluated) sink_.evaluated(state_.step, evaluation);
    }
  }

  absl::Status Remember(double psnr_rgb) {
    EvaluationHistory& history = state_.evaluations;
    history.last_step = state_.step;
    ++history.stale;
    if (history.best_step >= 0 && psnr_rgb <= history.best_psnr_rgb) return absl::OkStatus();
    const absl::Status saved = SaveModel(BestPath());
    if (!saved.ok()) return Tolerate(saved);
    history.best_step = state_.step;
    history.best_psnr_rgb = psnr_rgb;
    history.stale = 0;
    improved_ = untold_;
    return absl::OkStatus();
  }

  const TrainOptions& options_;
  const TrainSink& sink_;
  const Opened opened_;
  Dataset& dataset_;
  const at::Device device_;
  Ranks& ranks_;
  TrainState state_;
  std::string checkpoint_;            // the last; empty: none yet
  std::vector<std::string> torn_;     // checkpoints that the next one replaces
  std::vector<Evaluation> untold_;    // the last evaluation until it is told
  std::vector<Evaluation> improved_;  // the best one until it is shown
  Window window_;
  int64_t skipped_pictures_ = 0;
  absl::Duration earlier_;  // spent by earlier attempts
  TellBusy busy_;           // while the other ranks wait for this one
  bool settling_ = false;   // what follows a step, not a step
  const absl::Time begin_ = absl::Now();
  double rate_ = 0;
};

// What would fail only after hours, tried at the start.
absl::Status CheckPlaces(const TrainOptions& options) {
  const std::string probe = options.output_dir + "/.probe";
  DW_RETURN_IF_ERROR(WriteFileAtomically(probe, ""));
  std::remove(probe.c_str());
  std::set<std::string> names;
  for (const std::string& text : options.evaluate.pairs_dirs) {
    const std::string field = absl::StrFormat("evaluate.pairs_dir is '%s'", text);
    const absl::StatusOr<PairSet> set = ParsePairSet(text);
    if (!set.ok()) return Annotate(set.status(), field);
    const absl::Status task = FindTask(options.model.tasks, set->name).status();
    if (!task.ok()) return Annotate(task, field);
    if (names.insert(set->name).second) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "two of evaluate.pairs_dir are named '%s': write NAME=DIR for one of them", set->name));
  }
  return absl::OkStatus();
}

absl::StatusOr<Opened> Open(const TrainOptions& options, at::Device device, const Ranks& ranks) {
  Opened opened;
  if (ranks.first()) {
    DW_ASSIGN_OR_RETURN(RunLock lock, RunLock::Take(options.output_dir));
    opened.lock.emplace(std::move(lock));
    DW_RETURN_IF_ERROR(RemovePartialFiles(options.output_dir));
    DW_RETURN_IF_ERROR(CheckPlaces(options));
  }
  DW_ASSIGN_OR_RETURN(opened.dataset, Dataset::Open(options.data, options.seed));
  DW_ASSIGN_OR_RETURN(opened.teacher, LoadTeacher(options, device));
  TeacherNote note;
  if (opened.teacher) {
    note = {opened.teacher->version, !opened.teacher->network.config.tasks.empty()};
  }
  opened.fields = DescribeRun(options, note);
  opened.fields["data.pictures"] = opened.dataset->Fingerprint();
  if (ranks.count() > 1) opened.fields["ranks"] = absl::StrCat(ranks.count());
  return opened;
}

absl::StatusOr<RunFields> FieldsToAgreeOn(const TrainOptions& options, at::Device device,
                                          const absl::StatusOr<Opened>& opened) {
  DW_RETURN_IF_ERROR(opened.status());
  RunFields fields =
      AlikeOnRanks(options, c10::DeviceTypeName(device.type(), true), opened->fields);
  fields["data.tasks"] = absl::StrJoin(opened->dataset->tasks(), ",");
  return fields;
}

absl::StatusOr<std::string> TrainOn(const TrainOptions& options, const TrainSink& sink,
                                    at::Device device, Ranks& ranks) {
  UseDevice(device);
  absl::StatusOr<Opened> opened = Open(options, device, ranks);
  DW_RETURN_IF_ERROR(ranks.Agree(FieldsToAgreeOn(options, device, opened)));
  Run run(options, sink, *std::move(opened), device, ranks);
  bool lost = true;
  const absl::Status done = ranks.Guard([&] { return run.Doing(); },
                                        [&]() -> absl::Status {
                                          const absl::Status begun = run.Begin();
                                          const absl::Status gone = begun.ok() ? run.Go() : begun;
                                          lost = false;
                                          return gone;
                                        });
  if (lost) return run.SaveAfter(done);
  DW_RETURN_IF_ERROR(done);
  return run.FinishedModel();
}

}  // namespace

absl::StatusOr<std::string> Train(const TrainOptions& given, const TrainSink& sink,
                                  const RankPlace& place) {
  TrainOptions options = given;
  options.model.name = options.name;
  DW_RETURN_IF_ERROR(Validate(options));
  if (options.threads == 0) {
    options.threads = std::max(1, UsableProcessors() / place.local_count);
  }
  DW_ASSIGN_OR_RETURN(const at::Device device, ResolveDevice(options.device, place.local_rank));
  DW_ASSIGN_OR_RETURN(const std::unique_ptr<Ranks> ranks,
                      Ranks::Join(place, device, options.rank_timeout));
  options.resume = options.resume || ranks->HasBegun(options.output_dir);
  at::set_num_threads(options.threads);
  const absl::StatusOr<std::string> model =
      CatchTorch("training failed", [&] { return TrainOn(options, sink, device, *ranks); });
  ranks->Leave(model.status());
  return model;
}

}  // namespace deweather
