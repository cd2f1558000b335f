// Python's view of libstamp: convert, release the GIL, call. Options travel as JSON, so that defaults live in C++ only.
#include "bindings/convert.h"
#include "stamp/stamp_c.h"

PYBIND11_MODULE(_stamp, m) {
  using namespace stamp::bindings;
  m.doc() = "Bindings of libstamp; see the package stamp.";
  m.attr("__version__") = stamp_version();
  bind_files(m);
  bind_data(m);
  bind_devices(m);
  bind_model(m);
  bind_rules(m);
  bind_clusters(m);
  bind_baselines(m);
  bind_serving(m);
  bind_offline(m);
}
