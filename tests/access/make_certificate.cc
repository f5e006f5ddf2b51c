#include "tests/access/make_certificate.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdlib>

#include "model/base/c_owned.h"

namespace deweather {
namespace {

using Bio = COwned<BIO, BIO_free_all>;
using Certificate = COwned<X509, X509_free>;
using Key = COwned<EVP_PKEY, EVP_PKEY_free>;

void Require(bool done) {
  if (!done) std::abort();
}

Bio Reading(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string TextOf(const Bio& bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &bytes);
  return {bytes, static_cast<size_t>(size)};
}

Key KeyOf(const std::string& pem) {
  return Key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, nullptr, nullptr));
}

void AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  Require(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

Certificate Fill(const CertificateRequest& request, EVP_PKEY* key, X509* issuer) {
  static std::atomic<long> serial = 1;
  Certificate certificate(X509_new());
  X509* const made = certificate.get();
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), serial++);
  ASN1_TIME_set(X509_getm_notBefore(made), absl::ToTimeT(request.begins));
  ASN1_TIME_set(X509_getm_notAfter(made), absl::ToTimeT(request.expires));
  X509_set_pubkey(made, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.name.c_str()), -1, -1,
                             0);
  X509* const by = issuer != nullptr ? issuer : made;
  X509_set_issuer_name(made, X509_get_subject_name(by));
  AddExtension(made, by, NID_basic_constraints,
               request.authority ? "critical,CA:TRUE" : "CA:FALSE");
  const std::string here = "DNS:" + request.name + ",IP:127.0.0.1";
  AddExtension(made, by, NID_subject_alt_name,
               request.alternatives.empty() ? here : request.alternatives);
  return certificate;
}

std::string PemOf(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  Require(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return TextOf(bio);
}

std::string PemOf(EVP_PKEY* key, const EVP_CIPHER* cipher) {
  const Bio bio(BIO_new(BIO_s_mem()));
  Require(PEM_write_bio_PKCS8PrivateKey(bio.get(), key, cipher,
                                        cipher == nullptr ? nullptr : "word",
                                        cipher == nullptr ? 0 : 4, nullptr, nullptr) == 1);
  return TextOf(bio);
}

}  // namespace

IssuedCertificate MakeCertificate(const CertificateRequest& request) {
  const Key key(request.rsa_bits > 0 ? EVP_RSA_gen(static_cast<size_t>(request.rsa_bits))
                                     : EVP_EC_gen("P-256"));
  Certificate issuer;
  Key issuer_key;
  if (request.issuer != nullptr) {
    issuer.reset(
        PEM_read_bio_X509(Reading(request.issuer->certificate).get(), nullptr, nullptr, nullptr));
    issuer_key = KeyOf(request.issuer->key);
  }
  const Certificate certificate = Fill(request, key.get(), issuer.get());
  EVP_PKEY* const signer = issuer_key != nullptr ? issuer_key.get() : key.get();
  Require(X509_sign(certificate.get(), signer, EVP_sha256()) > 0);
  return {PemOf(certificate.get()), PemOf(key.get(), nullptr)};
}

std::string EncryptKey(const std::string& key) {
  return PemOf(KeyOf(key).get(), EVP_aes_128_cbc());
}

}  // namespace deweather
