#include "table.h"

#include <grpcpp/grpcpp.h>

#include <cctype>
#include <stdexcept>
#include <string_view>

#include "bigtable.pb.h"

namespace server::bigtable {

namespace {

std::string required(const char* key, const std::string& value) {
  if (value.empty())
    throw std::invalid_argument("visits.bigtable." + std::string(key) + ": \"\" cannot be; a name is expected");
  return value;
}

std::string url_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || c == '~') {
      out += c;
    } else {
      constexpr char kHex[] = "0123456789ABCDEF";
      out += {'%', kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]};
    }
  }
  return out;
}

// RFC 4648, section 5.
std::string web_safe_base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j) group = group << 8 | (j < left ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j) out += j <= left ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string features() {
  google::bigtable::v2::FeatureFlags flags;
  flags.set_last_scanned_row_responses(true);
  flags.set_routing_cookie(true);
  flags.set_retry_info(true);
  return web_safe_base64(flags.SerializeAsString());
}

}  // namespace

Table::Table(const BigtableOptions& options)
    : instance("projects/" + required("project", options.project) + "/instances/" +
               required("instance", options.instance)),
      app_profile(options.app_profile) {
  name = instance + "/tables/" + required("table", options.table);
  const std::string client = "gl-cpp/" + std::to_string(__cplusplus) + " grpc/" + grpc::Version() + " stamp-server/0.1";
  const std::string profile = "&app_profile_id=" + url_encoded(app_profile);
  headers = {{"x-goog-request-params", "table_name=" + url_encoded(name) + profile},
             {"x-goog-api-client", client},
             {"bigtable-features", features()}};
  instance_headers = headers;
  instance_headers[0].second = "name=" + url_encoded(instance) + profile;
}

void add_headers(grpc::ClientContext& context, const Headers& headers) {
  for (const auto& [name, value] : headers) context.AddMetadata(name, value);
}

}  // namespace server::bigtable
