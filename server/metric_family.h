// Metrics that are read when they are asked for.

#ifndef DEWEATHER_SERVER_METRIC_FAMILY_H_
#define DEWEATHER_SERVER_METRIC_FAMILY_H_

#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <string>

namespace deweather {

// One series without labels, a counter or a gauge.
prometheus::MetricFamily SingleMetric(std::string name, std::string help,
                                      prometheus::MetricType type, double value);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_METRIC_FAMILY_H_
