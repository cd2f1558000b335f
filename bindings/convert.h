// Between Python's values and the library's: arrays without copies, strings in Arrow's layout, callbacks.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bindings/gil.h"
#include "stamp/error.h"

namespace stamp::bindings {

namespace py = pybind11;

template <class T>
using Input = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
std::span<const T> span_of(const Input<T>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

template <class T>
std::span<const T> span_of(const std::optional<Input<T>>& array) {
  return array ? span_of(*array) : std::span<const T>();
}

template <class T>
std::vector<T> vector_of(const std::optional<Input<T>>& array) {
  const auto values = span_of(array);
  return {values.begin(), values.end()};
}

// A read-only array over memory that `owner` keeps alive.
template <class T>
py::array_t<T> view(std::span<const T> values, py::handle owner) {
  py::array_t<T> array({static_cast<py::ssize_t>(values.size())}, {sizeof(T)}, values.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

template <class T>
py::array_t<T> array_of(std::vector<T> values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* memory) { delete static_cast<std::vector<T>*>(memory); });
  return py::array_t<T>({static_cast<py::ssize_t>(owned->size())}, {sizeof(T)}, owned->data(), owner);
}

// Calls f(string) for the strings that Arrow's layout holds: bytes laid end to end, and where each begins.
template <class F>
void for_strings(const py::buffer& bytes, std::span<const std::int64_t> offsets, F&& f) {
  const py::buffer_info info = bytes.request();
  const auto size = static_cast<std::int64_t>(info.size * info.itemsize);
  const char* data = static_cast<const char*>(info.ptr);
  const Unlocked unlocked;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    require(0 <= offsets[i] && offsets[i] <= offsets[i + 1] && offsets[i + 1] <= size, "Catalog: string ", i,
            " lies at ", offsets[i], " to ", offsets[i + 1], " of ", size, " bytes");
    f(std::string_view(data + offsets[i], offsets[i + 1] - offsets[i]));
  }
}

// Turns a Python callable into the library's, stopping on its False (None goes on), on an exception and on Ctrl-C; the
// exception waits until the library has put things in order. Made and called by one thread, called without its lock.
class Callback {
 public:
  explicit Callback(const py::object& callable) : callable_(callable) {}

  template <class... Args>
  bool operator()(const Args&... args) {
    const Locked locked(thread_);
    try {
      const py::tuple arguments = py::make_tuple(args...);
      const int go_on = or_stay([&] { return call(arguments.ptr()); });
      if (go_on < 0) throw py::error_already_set();
      return go_on;
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_KeyboardInterrupt))
        interrupted_ = true;
      else
        error_ = std::make_unique<py::error_already_set>(std::move(error));
      return false;
    }
  }

  bool interrupted() const { return interrupted_; }
  void rethrow() {
    if (error_) throw std::move(*error_);
  }

 private:
  // 1 or 0, or -1 where an exception is set.
  int call(PyObject* arguments) const {
    if (PyErr_CheckSignals() != 0) return -1;
    if (callable_.is_none()) return 1;
    PyObject* answer = PyObject_CallObject(callable_.ptr(), arguments);
    if (!answer) return -1;
    const int go_on = answer == Py_None ? 1 : PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return go_on;
  }

  const py::object& callable_;
  PyThreadState* const thread_ = PyThreadState_Get();
  std::unique_ptr<py::error_already_set> error_;
  bool interrupted_ = false;
};

// One for each group of names; module.cpp calls them in this order.
void bind_files(py::module_& m);
void bind_data(py::module_& m);
void bind_devices(py::module_& m);
void bind_model(py::module_& m);
void bind_rules(py::module_& m);
void bind_clusters(py::module_& m);
void bind_baselines(py::module_& m);
void bind_serving(py::module_& m);
void bind_offline(py::module_& m);

}  // namespace stamp::bindings
