// What a catalog is split into clusters by, and the files that keep such tables.
#include "bindings/convert.h"
#include "stamp/cross_recommendations.h"

namespace stamp::bindings {

namespace {

py::tuple arrays_of(GroupPairs pairs) {
  return py::make_tuple(array_of(std::move(pairs.from)), array_of(std::move(pairs.to)),
                        array_of(std::move(pairs.counts)), pairs.examples);
}

}  // namespace

void bind_clusters(py::module_& m) {
  m.def(
      "cross_recommendations",
      [](const Model& model, const Sessions& sessions, const Input<std::int32_t>& groups, std::int64_t k,
         std::int64_t max_examples, const py::object& progress) {
        Callback callback(progress);
        const auto groups_of = span_of(groups);
        GroupPairs pairs;
        {
          const Unlocked unlocked;
          // A handle of its own: others may be using the model's.
          const Device& device = *model.device();
          const auto ranker = model_ranker(model, open_device(device.name(), {.precision = device.precision()}));
          pairs = cross_recommendations(*ranker, sessions, groups_of,
                                        {.k = k, .max_examples = max_examples, .history = model.config().history},
                                        std::ref(callback));
        }
        callback.rethrow();
        if (callback.interrupted()) {
          PyErr_SetNone(PyExc_KeyboardInterrupt);
          throw py::error_already_set();
        }
        return arrays_of(std::move(pairs));
      },
      py::arg("model"), py::arg("sessions"), py::arg("groups"), py::arg("k"), py::arg("max_examples"),
      py::arg("progress"));
  m.def("group_transitions", [](const Sessions& sessions, const Input<std::int32_t>& groups) {
    const auto groups_of = span_of(groups);
    GroupPairs pairs;
    {
      const Unlocked unlocked;
      pairs = group_transitions(sessions, groups_of);
    }
    return arrays_of(std::move(pairs));
  });

  m.def("write_tensors", [](const std::string& path, const std::map<std::string, py::array>& arrays,
                            const Metadata& metadata) {
    std::map<std::string, TensorSource> tensors;
    std::vector<py::array> rows_in_order;  // keeps what the sources view
    for (const auto& [name, array] : arrays) {
      const auto type = array.dtype().kind() + std::to_string(array.itemsize());
      const auto known =
          std::map<std::string, DType>{{"f4", DType::f32}, {"i4", DType::i32}, {"i8", DType::i64}, {"u1", DType::u8}};
      const auto found = known.find(type);
      require(found != known.end(), "write_tensors: '", name, "' is of dtype ", std::string(py::str(array.dtype())),
              ", expected float32, int32, int64 or uint8");
      rows_in_order.push_back(py::array::ensure(array, py::array::c_style));
      const py::array& dense = rows_in_order.back();
      tensors.emplace(name, TensorSource({found->second, {dense.shape(), dense.shape() + dense.ndim()}}, dense.data()));
    }
    const Unlocked unlocked;
    write_safetensors(path, tensors, metadata);
  });
  m.def("read_tensors", [](const std::string& path) {
    std::optional<Safetensors> file;
    {
      const Unlocked unlocked;
      file.emplace(path);
    }
    const std::map<DType, const char*> types{
        {DType::f32, "f4"}, {DType::i32, "i4"}, {DType::i64, "i8"}, {DType::u8, "u1"}};
    py::dict arrays;
    for (const auto& [name, tensor] : file->tensors())
      arrays[py::str(name)] = py::array(py::dtype(types.at(tensor.dtype)), tensor.shape, tensor.data);  // a copy
    return py::make_tuple(arrays, file->metadata());
  });
}

}  // namespace stamp::bindings
