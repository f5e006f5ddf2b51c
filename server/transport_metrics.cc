#include "server/transport_metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/metric_family.h"

namespace deweather {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

class ConnectionMetrics final : public prometheus::Collectable {
 public:
  ConnectionMetrics(Listener& listener, HttpServer* http,
                    std::shared_ptr<const LiveCertificates> certificates, const TokensFile* tokens)
      : listener_(listener), http_(http), certificates_(std::move(certificates)), tokens_(tokens) {}

  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> families = {
        SingleMetric("deweather_connections", "Connections that are open", MetricType::Gauge,
                     listener_.CountOpen()),
        SingleMetric("deweather_connections_refused_total",
                     "Connections that were closed at once, because as many as may be were open",
                     MetricType::Counter, static_cast<double>(listener_.refused()))};
    if (http_ != nullptr) AddHttp(families);
    if (certificates_ != nullptr) {
      families.push_back(SingleMetric(
          "deweather_tls_certificate_expiry_timestamp_seconds",
          "When the server's certificate expires, since 1970", MetricType::Gauge,
          absl::ToDoubleSeconds(certificates_->current()->expires - absl::UnixEpoch())));
      families.push_back(SingleMetric("deweather_tls_files_ok",
                                      "1; 0 while the files of certificates and key cannot be used",
                                      MetricType::Gauge, certificates_->ok() ? 1 : 0));
    }
    if (tokens_ != nullptr) {
      families.push_back(SingleMetric("deweather_tokens_file_ok",
                                      "1; 0 while the file of tokens cannot be used",
                                      MetricType::Gauge, tokens_->ok() ? 1 : 0));
    }
    return families;
  }

 private:
  void AddHttp(std::vector<MetricFamily>& families) const {
    Listener& listener = http_->listener();
    families.push_back(SingleMetric("deweather_http_connections",
                                    "Connections of HTTP that are open", MetricType::Gauge,
                                    listener.CountOpen()));
    families.push_back(SingleMetric(
        "deweather_http_connections_refused_total",
        "Connections of HTTP that were closed at once, because as many as may be were open",
        MetricType::Counter, static_cast<double>(listener.refused())));
    families.push_back(SingleMetric("deweather_http_body_bytes",
                                    "Bodies of requests and replies over HTTP that are in memory",
                                    MetricType::Gauge, static_cast<double>(http_->held_bytes())));
  }

  Listener& listener_;
  HttpServer* const http_;
  const std::shared_ptr<const LiveCertificates> certificates_;
  const TokensFile* const tokens_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> TransportMetrics(
    Listener& listener, HttpServer* http, std::shared_ptr<const LiveCertificates> certificates,
    const TokensFile* tokens) {
  return std::make_shared<ConnectionMetrics>(listener, http, std::move(certificates), tokens);
}

}  // namespace deweather
