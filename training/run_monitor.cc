#include "training/run_monitor.h"

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <system_error>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "training/report/append_file.h"
#include "training/report/json_lines.h"
#include "training/run_folder.h"

namespace deweather {
namespace {

constexpr absl::Duration kRedraw = absl::Milliseconds(200);

std::string ProgressText(const TrainProgress& at) {
  std::string line = absl::StrFormat("step %d/%d  loss %.6f  balance %.3f", at.step, at.steps,
                                     at.loss, at.balance);
  if (at.uncertainty) absl::StrAppendFormat(&line, "  uncertainty %.3g", *at.uncertainty);
  if (at.distill) absl::StrAppendFormat(&line, "  distill %.3g", *at.distill);
  absl::StrAppendFormat(&line, "  lr %.2e  grad %.3f  %.1f images/s  %s", at.learning_rate,
                        at.gradient_norm, at.images_per_second,
                        absl::FormatDuration(absl::Trunc(at.elapsed, absl::Seconds(1))));
  if (at.bad_steps > 0) absl::StrAppend(&line, "  skipped steps ", at.bad_steps);
  if (at.skipped_pictures > 0) absl::StrAppend(&line, "  skipped pictures ", at.skipped_pictures);
  return line;
}

std::string EvaluationText(int64_t step, const Evaluation& evaluation) {
  return absl::StrFormat(
      "step %d  evaluation %s: PSNR-Y %.2f dB (input %.2f), PSNR-RGB %.2f dB (input %.2f), "
      "SSIM-RGB "
      "%.4f (input %.4f)",
      step, evaluation.set.name, evaluation.restored.psnr_y, evaluation.input.psnr_y,
      evaluation.restored.psnr_rgb, evaluation.input.psnr_rgb, evaluation.restored.ssim_rgb,
      evaluation.input.ssim_rgb);
}

EventRecord EndOf(const absl::StatusOr<std::string>& model, int64_t step, int exit_status) {
  if (model.ok()) return {step, absl::Now(), "finished", {{"model", *model}}};
  const bool stopped = absl::IsCancelled(model.status());
  return {step,
          absl::Now(),
          stopped ? "stopped" : "failed",
          {{"code", absl::StatusCodeToString(model.status().code())},
           {"message", std::string(model.status().message())},
           {"exit_status", int64_t{exit_status}}}};
}

}  // namespace

ProgressStyle ParseProgressStyle(const std::string& name, std::FILE* out) {
  if (name == "json") return ProgressStyle::kJson;
  if (name == "lines") return ProgressStyle::kLines;
  if (name == "bar") return ProgressStyle::kBar;
  return isatty(fileno(out)) == 1 ? ProgressStyle::kBar : ProgressStyle::kLines;
}

ScalarRecord ToRecord(const TrainProgress& at, absl::Time now) {
  ScalarRecord record{at.step, now, {{"loss/all", at.loss}, {"loss/balance", at.balance}}};
  if (at.uncertainty) record.values.emplace_back("loss/uncertainty", *at.uncertainty);
  if (at.distill) record.values.emplace_back("loss/distill", *at.distill);
  for (const auto& [task, loss] : at.task_loss) {
    record.values.emplace_back(absl::StrCat("loss/", task), loss);
  }
  for (const auto& [name, value] :
       {std::pair("learning_rate", at.learning_rate), std::pair("gradient_norm", at.gradient_norm),
        std::pair("images_per_second", at.images_per_second),
        std::pair("waiting_share", at.waiting_share),
        std::pair("elapsed_seconds", absl::ToDoubleSeconds(at.elapsed))}) {
    record.values.emplace_back(name, value);
  }
  record.values.emplace_back("skipped/steps", static_cast<double>(at.bad_steps));
  record.values.emplace_back("skipped/pictures", static_cast<double>(at.skipped_pictures));
  return record;
}

ScalarRecord ToRecord(int64_t step, const Evaluation& evaluation, absl::Time now) {
  const std::string stem = absl::StrCat("evaluation/", evaluation.set.name, "/");
  const Quality& restored = evaluation.restored;
  return {step,
          now,
          {{stem + "psnr_rgb", restored.psnr_rgb},
           {stem + "psnr_y", restored.psnr_y},
           {stem + "ssim_rgb", restored.ssim_rgb},
           {stem + "ssim_y", restored.ssim_y}}};
}

RunMonitor::RunMonitor(const TrainOptions& options, ProgressStyle style, std::FILE* out,
                       std::FILE* err, int ranks)
    : options_(options), style_(style), out_(out), err_(err), ranks_(ranks), progress_bar_(out) {
  bar_.steps = options.steps;
  bar_.loss = std::numeric_limits<double>::quiet_NaN();
}

TrainSink RunMonitor::Sink(std::function<bool()> stop) {
  return {.progress = [this](const TrainProgress& at) { Progress(at); },
          .evaluated = [this](int64_t step, const Evaluation& e) { Evaluated(step, e); },
          .saved = [this](int64_t step, const std::string& path) { Saved(step, path); },
          .warned = [this](const std::string& message) { Warned(message); },
          .resumed = [this](int64_t step, const std::string& path) { Resumed(step, path); },
          .stop =
              [this, stop = std::move(stop)](int64_t step) {
                StepDone(step);
                return stop();
              }};
}

void RunMonitor::Progress(const TrainProgress& at) {
  Begin(0);
  Log(ToRecord(at, absl::Now()));
  bar_.step = at.step;
  bar_.loss = at.loss;
  bar_.images_per_second = at.images_per_second;
  bar_.remaining_time = options_.max_time - at.elapsed;
  if (style_ == ProgressStyle::kLines) Say(ProgressText(at));
}

// Between two lines the bar goes on. A step is told again with each picture of an evaluation.
void RunMonitor::StepDone(int64_t step) {
  Begin(0);
  if (step == bar_.step) return;
  bar_.step = step;
  const absl::Time now = absl::Now();
  if (!first_step_) {  // its pace says nothing of the others'
    first_step_ = now;
    bar_.first_step = bar_.step;
  }
  if (style_ != ProgressStyle::kBar || now - drawn_ < kRedraw) return;
  bar_.elapsed = now - *first_step_;
  progress_bar_.Draw(bar_);
  drawn_ = now;
}

void RunMonitor::Evaluated(int64_t step, const Evaluation& evaluation) {
  Begin(step);
  Log(ToRecord(step, evaluation, absl::Now()));
  if (style_ != ProgressStyle::kJson) Say(EvaluationText(step, evaluation));
}

void RunMonitor::Saved(int64_t step, const std::string& checkpoint) {
  Begin(step);
  Log(EventRecord{step, absl::Now(), "checkpoint", {{"path", checkpoint}}});
  log_->Checkpoint();
}

void RunMonitor::Resumed(int64_t step, const std::string& checkpoint) {
  Begin(step);
  Log(EventRecord{step, absl::Now(), "resumed", {{"path", checkpoint}}});
  if (style_ != ProgressStyle::kJson)
    Say(absl::StrCat("goes on at step ", step, " from ", checkpoint));
}

void RunMonitor::Warned(const std::string& message) {
  progress_bar_.Clear();
  if (style_ != ProgressStyle::kJson) absl::FPrintF(err_, "warning: %s\n", message);
  Log(EventRecord{bar_.step, absl::Now(), "warning", {{"message", message}}});
}

void RunMonitor::Finish(const absl::StatusOr<std::string>& model, int exit_status) {
  progress_bar_.Clear();
  if (log_ && log_->lost() > 0) {
    Warned(absl::StrCat(log_->lost(), " records of the run could not be written"));
  }
  const EventRecord end = EndOf(model, bar_.step, exit_status);
  Log(end);
  if (log_) log_->Checkpoint();
  if (!log_ && !model.ok() && options_.resume) LogFailedStart(JsonLine(end));
  if (model.ok() && style_ != ProgressStyle::kJson) Say(absl::StrCat("wrote ", *model));
}

// For runs that resume: the folder of any other may be another's. Nothing that is there is forgotten for it,
// and nothing is written where another run is at work.
void RunMonitor::LogFailedStart(const std::string& line) const {
  std::error_code error;
  if (!std::filesystem::is_directory(options_.output_dir, error)) return;
  if (const auto lock = RunLock::Take(options_.output_dir); lock.ok()) {
    absl::StatusOr<AppendFile> log = AppendFile::Open(options_.output_dir + "/log.jsonl");
    if (log.ok()) static_cast<void>(log->Append(line));
  }
}

void RunMonitor::Begin(int64_t steps) {
  if (log_) return;
  const absl::Time now = absl::Now();
  bar_.step = steps;
  log_.emplace(options_.output_dir, steps, now,
               [this](const std::string& message) { Warned(message); });
  Log(EventRecord{steps,
                  now,
                  "started",
                  {{"name", options_.name},
                   {"steps", options_.steps},
                   {"images_per_step", int64_t{options_.batch} * options_.accumulate * ranks_}}});
  for (EventRecord& record : std::exchange(waiting_, {})) {
    record.step = steps;
    log_->Add(record);
  }
}

// `RunLog`'s own warnings come here too, while it is being made and while it adds a record.
template <typename Record>
void RunMonitor::Log(const Record& record) {
  if (style_ == ProgressStyle::kJson) {
    const std::string line = JsonLine(record);
    std::fwrite(line.data(), 1, line.size(), out_);
    std::fflush(out_);
  }
  if (log_) {
    log_->Add(record);
  } else if constexpr (std::is_same_v<Record, EventRecord>) {
    waiting_.push_back(record);
  }
}

void RunMonitor::Say(const std::string& line) {
  progress_bar_.Clear();
  absl::FPrintF(out_, "%s\n", line);
  std::fflush(out_);
}

}  // namespace deweather
