// What a caller is told when there is no answer: an HTTP status and a body of google.rpc.Status.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace server {

class Error : public std::runtime_error {
 public:
  Error(int status, const std::string& message) : runtime_error(message), status_(status) {}
  int status() const { return status_; }  // HTTP's

 private:
  int status_;
};

// {"error": {"code": 400, "message": …, "status": "INVALID_ARGUMENT"}}, as Google's interfaces answer over HTTP
// (https://google.aip.dev/193).
std::string error_body(int status, std::string_view message);

// What a status wants beside its body: when to come again, how to say who one is.
std::vector<std::pair<std::string_view, std::string>> error_headers(int status);

}  // namespace server
