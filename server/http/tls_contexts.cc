#include "server/http/tls_contexts.h"

#include <openssl/ssl.h>
#include <spdlog/spdlog.h>

#include <boost/asio/buffer.hpp>
#include <string>
#include <utility>

namespace deweather {
namespace {

namespace ssl = boost::asio::ssl;

constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* chosen_bytes,
                   const unsigned char* offered, unsigned int offered_bytes, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, chosen_bytes, kHttp11, sizeof(kHttp11), offered,
                            offered_bytes) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

boost::asio::const_buffer Bytes(const std::string& text) { return boost::asio::buffer(text); }

std::shared_ptr<ssl::context> MakeContext(const Certificates& certificates) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_alpn_select_cb(context->native_handle(), ChooseProtocol, nullptr);
  boost::system::error_code error;
  context->use_certificate_chain(Bytes(certificates.chain), error);
  if (!error) context->use_private_key(Bytes(certificates.key), ssl::context::pem, error);
  if (!error && !certificates.client_ca.empty()) {
    context->add_certificate_authority(Bytes(certificates.client_ca), error);
    context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    // Without it no session could be resumed, and handshakes that try to would fail.
    SSL_CTX_set_session_id_context(context->native_handle(), kHttp11, sizeof(kHttp11));
  }
  if (!error) return context;
  spdlog::error("http: OpenSSL cannot use the certificates: {}", error.message());
  return nullptr;
}

}  // namespace

std::shared_ptr<ssl::context> TlsContexts::Current() {
  std::shared_ptr<const Certificates> current = certificates_->current();
  MutexLock lock(mutex_);
  if (current != made_of_) {
    context_ = MakeContext(*current);
    made_of_ = std::move(current);
  }
  return context_;
}

}  // namespace deweather
