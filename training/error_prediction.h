// How well a figure of each patch of a picture foretells the patch's error.
//
// Math     Pearson's r, and Spearman's: r of the ranks, equal values sharing the mean of theirs;
//          given z: r_xy.z = (r_xy - r_xz r_yz) / √((1 - r_xz²)(1 - r_yz²)); given z and w the same of
//          r_xy.z, r_xw.z and r_yw.z
//          sparsification [Ilg et al. 2018]: RMSE of what is left when the patches with the largest
//          values are taken away; the oracle takes away the largest errors, chance leaves the RMSE as
//          it was. AUSE = area between curve and oracle / area between chance and oracle: 0 as good as
//          the oracle, 1 no better than chance
// Shapes   values and errors [patches]; errors are mean squares
// Errors   NaN where there is no answer: all errors equal, or for a correlation all values; so of one
//          patch. AUSE of equal values is that of chance, 1
// Threads  pure functions

#ifndef DEWEATHER_TRAINING_ERROR_PREDICTION_H_
#define DEWEATHER_TRAINING_ERROR_PREDICTION_H_

#include <vector>

namespace deweather {

struct Correlation {
  double pearson = 0;
  double spearman = 0;
};

Correlation Correlate(const std::vector<double>& x, const std::vector<double>& y);

// Of x and y, as far as neither follows from z and w.
Correlation CorrelateGiven(const std::vector<double>& x, const std::vector<double>& y,
                           const std::vector<double>& z, const std::vector<double>& w);

inline constexpr int kRemovals = 20;  // shares 0, 0.05, ..., 0.95 of the patches

// [kRemovals] RMSE of the rest; among equal values chance decides. REQUIRES: at least one patch.
std::vector<double> Sparsify(const std::vector<double>& values, const std::vector<double>& errors);

// Of two curves of Sparsify.
double Ause(const std::vector<double>& curve, const std::vector<double>& oracle);

struct Interval {
  double low = 0;
  double high = 0;
};

// Where the mean lies, by bootstrap: of the means of 1000 draws of as many values with replacement those
// at 2.5 and 97.5 %. For equally many values the draws are the same. NaN of fewer than two.
Interval MeanInterval(const std::vector<double>& values);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_ERROR_PREDICTION_H_
