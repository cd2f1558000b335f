// Attributes of products between Python and the library: columns (name, codes, values) or (name, numbers).
#pragma once

#include "bindings/convert.h"
#include "stamp/attributes.h"

namespace stamp::bindings {

inline Attributes attributes_from(const py::list& columns, std::int64_t V) {
  Attributes attributes(V);
  for (const auto& item : columns) {
    const auto column = item.cast<py::tuple>();
    const auto name = column[0].cast<std::string>();
    if (column.size() == 3)
      attributes.add(TextAttribute{.name = name,
                                   .values = column[2].cast<std::vector<std::string>>(),
                                   .codes = column[1].cast<std::vector<std::int32_t>>()});
    else
      attributes.add(NumberAttribute{.name = name, .values = column[1].cast<std::vector<float>>()});
  }
  return attributes;
}

inline py::list attributes_to(const Attributes& attributes) {
  py::list columns;
  for (const auto& text : attributes.texts())
    columns.append(py::make_tuple(text.name, array_of(text.codes), text.values));
  for (const auto& number : attributes.numbers()) columns.append(py::make_tuple(number.name, array_of(number.values)));
  return columns;
}

}  // namespace stamp::bindings
