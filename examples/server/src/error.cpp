#include "error.h"

#include "json_writer.h"

namespace server {

namespace {

// https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto says which code is which status of HTTP.
std::string_view name_of(int status) {
  switch (status) {
    case 400:
    case 405:
    case 413:
    case 415:
    case 431:
      return "INVALID_ARGUMENT";
    case 401:
      return "UNAUTHENTICATED";
    case 403:
      return "PERMISSION_DENIED";
    case 404:
      return "NOT_FOUND";
    case 409:
      return "ABORTED";
    case 429:
      return "RESOURCE_EXHAUSTED";
    case 501:
      return "UNIMPLEMENTED";
    case 503:
      return "UNAVAILABLE";
    default:
      return "INTERNAL";
  }
}

}  // namespace

std::string error_body(int status, std::string_view message) {
  std::string body;
  {
    JsonObject outer(body);
    JsonObject error(outer.at("error"));
    error.add("code", status);
    error.add("message", valid_utf8(message));
    error.add("status", name_of(status));
  }
  return body;
}

std::vector<std::pair<std::string_view, std::string>> error_headers(int status) {
  switch (status) {
    case 401:
      return {{"WWW-Authenticate", "Bearer realm=\"stamp\""}};
    case 429:
    case 503:
      return {{"Retry-After", "1"}};
    default:
      return {};
  }
}

}  // namespace server
