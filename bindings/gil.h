// Python's lock, the GIL: let go while the library works, held again for what calls back.
//
// A daemon thread may ask for it when the interpreter has begun to end. CPython before 3.14 ends such a thread by
// pthread_exit, which unwinds its stack: through destructors that may not throw, which aborts the process, and through
// ones that touch Python's objects without its lock. The thread stays where it is instead until the process is gone, as
// CPython itself has it from 3.14 on.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

namespace stamp::bindings {

// f(), which calls nothing but Python's C API; does not return where that would end the thread.
template <class F>
auto or_stay(const F& f) {
  try {
    return f();
  } catch (abi::__forced_unwind&) {
    while (true) pause();
  }
}

class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    or_stay([&] { PyEval_RestoreThread(state_); });
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

// Within an Unlocked of the same thread, whose state is given: PyGILState_Ensure would make a dead interpreter another.
class Locked {
 public:
  explicit Locked(PyThreadState* state) {
    or_stay([&] { PyEval_RestoreThread(state); });
  }
  ~Locked() { PyEval_SaveThread(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

}  // namespace stamp::bindings
