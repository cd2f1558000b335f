// Which status each kind of exception has.
#pragma once

#include <exception>
#include <string>

namespace server {

struct Failure {
  int status;
  std::string message;
};

Failure failure_of(const std::exception_ptr& error);

}  // namespace server
