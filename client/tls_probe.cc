#include "client/tls_probe.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/text.h"
#include "model/base/c_owned.h"

namespace deweather {
namespace {

using Bio = COwned<BIO, BIO_free>;
using Certificate = COwned<X509, X509_free>;
using PrivateKey = COwned<EVP_PKEY, EVP_PKEY_free>;
using Names = COwned<GENERAL_NAMES, GENERAL_NAMES_free>;
using Context = COwned<SSL_CTX, SSL_CTX_free>;
using Session = COwned<SSL, SSL_free>;

constexpr unsigned char kHttp2[] = {2, 'h', '2'};
constexpr size_t kMostNames = 5;

Bio Memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// It may hold anything that a stranger put there.
std::string NameText(const X509_NAME* name) {
  std::array<char, 256> text{};
  X509_NAME_oneline(name, text.data(), text.size());
  return OneLine(text.data());
}

std::string TimeText(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "a date that is none";
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::FromTM(parts, absl::UTCTimeZone()),
                          absl::UTCTimeZone());
}

std::string NameText(const GENERAL_NAME& name) {
  if (name.type == GEN_DNS) {
    return OneLine({reinterpret_cast<const char*>(ASN1_STRING_get0_data(name.d.dNSName)),
                    static_cast<size_t>(ASN1_STRING_length(name.d.dNSName))});
  }
  if (name.type != GEN_IPADD) return "";
  const int bytes = ASN1_STRING_length(name.d.iPAddress);
  if (bytes != 4 && bytes != 16) return "";
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(bytes == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name.d.iPAddress), text.data(),
            text.size());
  return text.data();
}

// Hosts and addresses that a certificate is for.
std::string NamesOf(X509* certificate) {
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> texts;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const std::string text = NameText(*sk_GENERAL_NAME_value(names.get(), i));
    if (!text.empty()) texts.push_back(text);
  }
  if (texts.empty()) return NameText(X509_get_subject_name(certificate));
  const bool more = texts.size() > kMostNames;
  if (more) texts.resize(kMostNames);
  return absl::StrCat(absl::StrJoin(texts, ", "), more ? " and others" : "");
}

// What `error` says of a certificate of the server's chain, the server's own at depth 0.
std::string Distrust(int error, int depth, X509* certificate, const Credentials& credentials,
                     const std::string& host) {
  const std::string whose =
      depth == 0 || certificate == nullptr
          ? absl::StrCat("the certificate of ", host)
          : absl::StrCat("the authority ", NameText(X509_get_subject_name(certificate)),
                         " of the certificate of ", host);
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::StrCat(whose, " expired on ", TimeText(X509_get0_notAfter(certificate)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return absl::StrFormat(
          "%s is not valid before %s; this machine's clock says %s", whose,
          TimeText(X509_get0_notBefore(certificate)),
          absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::Now(), absl::UTCTimeZone()));
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return absl::StrFormat(
          "the server's certificate is for %s, not for %s; --tls-name NAME says "
          "another name to look for",
          NamesOf(certificate), host);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return absl::StrFormat(
          "%s is self-signed and not in '%s'; --tls-ca FILE names what is trusted", whose,
          credentials.ca_file);
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return absl::StrFormat(
          "%s is of the authority %s, which is not in '%s'; --tls-ca FILE names "
          "what is trusted",
          whose, NameText(X509_get_issuer_name(certificate)), credentials.ca_file);
    default:
      return absl::StrCat(whose, " is not trusted: ", X509_verify_cert_error_string(error));
  }
}

// What OpenSSL's callbacks reach by the session.
struct Look {
  const Credentials& credentials;
  const std::string& host;
  TlsSight sight;
};

Look& LookOf(SSL* session) { return *static_cast<Look*>(SSL_get_app_data(session)); }

// Remembers the first thing that is wrong, and goes on.
int OnVerify(int trusted, X509_STORE_CTX* store) {
  auto* const session =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  Look& look = LookOf(session);
  if (trusted == 0 && look.sight.distrust.empty()) {
    look.sight.distrust =
        Distrust(X509_STORE_CTX_get_error(store), X509_STORE_CTX_get_error_depth(store),
                 X509_STORE_CTX_get_current_cert(store), look.credentials, look.host);
  }
  return 1;
}

int OnCertificateWanted(SSL* session, void*) {
  TlsSight& sight = LookOf(session).sight;
  sight.wants_certificate = true;
  const STACK_OF(X509_NAME)* const names = SSL_get0_peer_CA_list(session);
  for (int i = 0; names != nullptr && i < sk_X509_NAME_num(names); ++i) {
    sight.authorities.push_back(NameText(sk_X509_NAME_value(names, i)));
  }
  return 1;
}

void OnAlert(const SSL* session, int where, int alert) {
  if (where != SSL_CB_READ_ALERT || alert >> 8 != SSL3_AL_FATAL) return;
  LookOf(const_cast<SSL*>(session)).sight.alert = SSL_alert_desc_string_long(alert);
}

void Trust(SSL_CTX* context, const std::string& authorities) {
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);  // as gRPC
  const Bio pem = Memory(authorities);
  while (const Certificate one{PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr)}) {
    X509_STORE_add_cert(store, one.get());
  }
}

void Show(SSL_CTX* context, const Credentials& credentials) {
  if (credentials.certificate.empty()) return;
  const Bio pem = Memory(credentials.certificate);
  const Certificate own(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr));
  const PrivateKey key(
      PEM_read_bio_PrivateKey(Memory(credentials.key).get(), nullptr, nullptr, nullptr));
  SSL_CTX_use_certificate(context, own.get());
  SSL_CTX_use_PrivateKey(context, key.get());
  while (X509* const next = PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr)) {
    SSL_CTX_add_extra_chain_cert(context, next);  // takes it
  }
}

Context NewContext(const Credentials& credentials) {
  Context context(SSL_CTX_new(TLS_client_method()));
  Trust(context.get(), credentials.ca);
  Show(context.get(), credentials);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, OnVerify);
  SSL_CTX_set_cert_cb(context.get(), OnCertificateWanted, nullptr);
  SSL_CTX_set_info_callback(context.get(), OnAlert);
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof(kHttp2));
  return context;
}

// Over memory: the socket's bytes are seen, and have a deadline.
Session NewSession(SSL_CTX* context, Look& look) {
  Session session(SSL_new(context));
  SSL_set_bio(session.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_app_data(session.get(), &look);
  X509_VERIFY_PARAM* const wanted = SSL_get0_param(session.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, look.host.c_str()) != 1) {
    X509_VERIFY_PARAM_set1_host(wanted, look.host.c_str(), look.host.size());
    SSL_set_tlsext_host_name(session.get(), look.host.c_str());
  }
  SSL_set_connect_state(session.get());
  return session;
}

// Sends what the session wants to send.
absl::Status Flush(SSL* session, Connection& connection) {
  std::array<char, 16384> bytes;
  for (;;) {
    const int size = BIO_read(SSL_get_wbio(session), bytes.data(), bytes.size());
    if (size <= 0) return absl::OkStatus();
    const absl::Status sent = connection.Send({bytes.data(), static_cast<size_t>(size)});
    if (!sent.ok()) return sent;
  }
}

// Calls `step` until it has done its work; false if it cannot.
template <typename Step>
bool Drive(SSL* session, Connection& connection, TlsSight& sight, const Step& step) {
  for (;;) {
    const int done = step();
    const int error = SSL_get_error(session, done);
    sight.status = Flush(session, connection);
    if (done > 0) return true;
    if (error != SSL_ERROR_WANT_READ || !sight.status.ok()) return false;
    const absl::StatusOr<std::string> bytes = connection.Receive();
    sight.status = bytes.status();
    if (!bytes.ok() || bytes->empty()) return false;
    if (sight.first_bytes.empty()) sight.first_bytes = *bytes;
    BIO_write(SSL_get_rbio(session), bytes->data(), static_cast<int>(bytes->size()));
  }
}

bool ChoseHttp2(SSL* session) {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(session, &name, &size);
  return size == 2 && name[0] == 'h' && name[1] == '2';
}

}  // namespace

bool IsHttp2(std::string_view bytes) { return bytes.size() >= 9 && bytes[3] == 4; }

TlsSight LookThroughTls(Connection connection, const Credentials& credentials,
                        const std::string& host) {
  Look look = {credentials, host, {}};
  const Context context = NewContext(credentials);
  const Session session = NewSession(context.get(), look);
  SSL* const ssl = session.get();
  TlsSight& sight = look.sight;
  sight.shook_hands = Drive(ssl, connection, sight, [&] { return SSL_do_handshake(ssl); });
  if (sight.shook_hands) {
    sight.chose_http2 = ChoseHttp2(ssl);
    std::array<char, 64> answer;
    sight.answered =
        Drive(ssl, connection, sight,
              [&] {
                return SSL_write(ssl, kHttp2Greeting.data(),
                                 static_cast<int>(kHttp2Greeting.size()));
              }) &&
        Drive(ssl, connection, sight, [&] { return SSL_read(ssl, answer.data(), answer.size()); });
  }
  ERR_clear_error();
  return sight;
}

OwnCertificate LookAtOwn(const std::string& pem) {
  const Certificate own(PEM_read_bio_X509(Memory(pem).get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (own == nullptr) return {};
  OwnCertificate told = {NameText(X509_get_issuer_name(own.get())), ""};
  if (X509_cmp_current_time(X509_get0_notAfter(own.get())) < 0) {
    told.problem = absl::StrCat("expired on ", TimeText(X509_get0_notAfter(own.get())));
  } else if (X509_cmp_current_time(X509_get0_notBefore(own.get())) > 0) {
    told.problem = absl::StrCat("is not valid before ", TimeText(X509_get0_notBefore(own.get())));
  }
  return told;
}

}  // namespace deweather
