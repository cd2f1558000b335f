// Business rules.
#include "stamp/rules.h"

#include "bindings/convert.h"

namespace stamp::bindings {

void bind_rules(py::module_& m) {
  m.def("check_rules", [](const std::string& rules, const Catalog& catalog, const std::vector<std::string>& texts,
                          const std::vector<std::string>& numbers) {
    const Unlocked unlocked;
    Attributes attributes(catalog.size());
    const auto V = static_cast<std::size_t>(catalog.size());
    for (const std::string& name : texts)
      attributes.add(TextAttribute{.name = name, .values = {}, .codes = std::vector(V, TextAttribute::kMissing)});
    for (const std::string& name : numbers)
      attributes.add(NumberAttribute{.name = name, .values = std::vector<float>(V)});
    return Rules::parse(rules, catalog, attributes).unknown_products();
  });
}

}  // namespace stamp::bindings
