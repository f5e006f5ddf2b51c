#include "model/base/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deweather {
namespace {

constexpr int kLeastBar = 10;  // columns between the brackets
constexpr int kMostBar = 40;

double Share(const BarState& state) {
  if (state.steps <= 0) return 0;
  return std::clamp(static_cast<double>(state.step) / static_cast<double>(state.steps), 0.0, 1.0);
}

// "[=====>    ]" with `width` columns between the brackets.
std::string Bar(double share, int width) {
  const int full = static_cast<int>(share * width);
  std::string bar(static_cast<size_t>(full), '=');
  if (full < width) bar += '>';
  bar.resize(static_cast<size_t>(width), ' ');
  return absl::StrCat("[", bar, "]");
}

// A piece of the line; the larger `rank`, the earlier it gives way.
struct Piece {
  int rank;
  std::string text;
};

// All but the bar, as they stand in the line.
std::vector<Piece> Pieces(const BarState& state) {
  std::vector<Piece> pieces = {{0, absl::StrCat(state.step, "/", state.steps)},
                               {3, absl::StrFormat("%3.0f%%", std::floor(100 * Share(state)))}};
  if (!std::isnan(state.loss)) {
    pieces.push_back({1, absl::StrFormat("loss %.4g", state.loss)});
    pieces.push_back({4, absl::StrFormat("%.1f images/s", state.images_per_second)});
  }
  if (const auto left = TimeLeft(state)) {
    pieces.push_back({2, absl::StrCat(ShortDuration(*left), " left")});
  }
  return pieces;
}

// Length of the line without a bar.
int Length(const std::vector<Piece>& pieces) {
  int length = -2;
  for (const Piece& piece : pieces) length += 2 + static_cast<int>(piece.text.size());
  return length;
}

void DropLast(std::vector<Piece>& pieces) {
  pieces.erase(std::max_element(pieces.begin(), pieces.end(),
                                [](const Piece& a, const Piece& b) { return a.rank < b.rank; }));
}

std::string Join(const std::vector<Piece>& pieces) {
  std::string line;
  for (const Piece& piece : pieces) absl::StrAppend(&line, line.empty() ? "" : "  ", piece.text);
  return line;
}

}  // namespace

std::optional<absl::Duration> TimeLeft(const BarState& state) {
  if (state.left) return state.left;
  const int64_t done = state.step - state.first_step;
  if (done <= 0) return std::nullopt;
  const auto left = static_cast<double>(std::max<int64_t>(state.steps - state.step, 0));
  const absl::Duration by_steps = state.elapsed * (left / static_cast<double>(done));
  return std::max(absl::ZeroDuration(), std::min(by_steps, state.remaining_time));
}

std::string ShortDuration(absl::Duration duration) {
  if (duration >= absl::Hours(24 * 1000)) return "over 1000d";
  const int64_t seconds = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  const int64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
  if (days > 0) return absl::StrFormat("%dd %02dh", days, hours % 24);
  if (hours > 0) return absl::StrFormat("%dh %02dm", hours, minutes % 60);
  if (minutes > 0) return absl::StrFormat("%dm %02ds", minutes, seconds % 60);
  return absl::StrFormat("%ds", seconds);
}

std::string ProgressLine(const BarState& state, int columns) {
  const int room = std::max(columns, 2) - 1;  // in the last column some terminals wrap
  std::vector<Piece> pieces = Pieces(state);
  while (pieces.size() > 1 && Length(pieces) > room) DropLast(pieces);
  const int bar = std::min(room - Length(pieces) - 3, kMostBar);
  if (bar >= kLeastBar) absl::StrAppend(&pieces[0].text, " ", Bar(Share(state), bar));
  return Join(pieces).substr(0, static_cast<size_t>(room));
}

int TerminalColumns(std::FILE* file) {
  struct winsize size = {};
  const bool known = ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

void ProgressBar::Draw(const BarState& state) {
  const std::string line = ProgressLine(state, TerminalColumns(terminal_));
  std::fprintf(terminal_, "\r\033[K%s", line.c_str());
  std::fflush(terminal_);
  drawn_ = true;
}

void ProgressBar::Clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", terminal_);
  std::fflush(terminal_);
  drawn_ = false;
}

}  // namespace deweather
