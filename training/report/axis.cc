#include "training/report/axis.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace deweather {
namespace {

constexpr double kMargin = 0.05;  // of the range, at either end

// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
double RoundStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::string Label(double value) {
  const double size = std::abs(value);
  if (size >= 1e6) return absl::StrFormat("%gM", value / 1e6);
  if (size >= 1e4) return absl::StrFormat("%gk", value / 1e3);
  return absl::StrFormat("%g", value);
}

std::vector<Tick> EvenTicks(const Axis& axis, int count) {
  const double step = RoundStep((axis.end - axis.begin) / std::max(count, 1));
  const double last = std::floor(axis.end / step);
  std::vector<Tick> ticks;
  for (double k = std::ceil(axis.begin / step); k <= last; ++k) {
    ticks.push_back({k * step, Label(k * step)});
  }
  return ticks;
}

std::vector<Tick> DecadeTicks(const Axis& axis) {
  const bool many = axis.end > 100 * axis.begin;
  const double last = std::ceil(std::log10(axis.end));
  std::vector<Tick> ticks;
  for (double k = std::floor(std::log10(axis.begin)); k <= last; ++k) {
    for (const int digit : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
      const double value = digit * std::pow(10, k);
      if (value < axis.begin || value > axis.end) continue;
      const bool labelled = digit == 1 || (!many && (digit == 2 || digit == 5));
      ticks.push_back({value, labelled ? Label(value) : ""});
    }
  }
  return ticks;
}

}  // namespace

double Axis::Place(double value) const {
  if (!logarithmic) return (value - begin) / (end - begin);
  return std::log(value / begin) / std::log(end / begin);
}

Axis AxisOver(double least, double most, bool logarithmic) {
  if (logarithmic) {
    const double margin = std::max(kMargin * std::log(most / least), 0.05);
    return {least * std::exp(-margin), most * std::exp(margin), true};
  }
  const double margin = std::max(kMargin * (most - least), 1e-3 * std::max(std::abs(most), 1e-6));
  return {least - margin, most + margin, false};
}

std::vector<Tick> Ticks(const Axis& axis, int count) {
  const bool decades = axis.logarithmic && axis.end > 8 * axis.begin;
  return decades ? DecadeTicks(axis) : EvenTicks(axis, count);
}

}  // namespace deweather
