// What one request of several came to: a T, or why there is none.
#pragma once

#include <exception>
#include <utility>

namespace stamp {

template <class T>
class Answer {
 public:
  Answer() = default;
  Answer(T value) : value_(std::move(value)) {}
  Answer(std::exception_ptr error) : error_(std::move(error)) {}

  // Of what `work` returns or throws.
  template <class Work>
  static Answer of(Work&& work) {
    try {
      return work();
    } catch (...) {
      return std::current_exception();
    }
  }

  explicit operator bool() const { return !error_; }
  const std::exception_ptr& error() const { return error_; }  // null where there is a T

  // Throws the error where there is one.
  const T& get() const& {
    check();
    return value_;
  }
  T get() && {
    check();
    return std::move(value_);
  }

 private:
  void check() const {
    if (error_) std::rethrow_exception(error_);
  }

  T value_{};
  std::exception_ptr error_;
};

}  // namespace stamp
