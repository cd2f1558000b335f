#include "stamp/routes.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

namespace stamp {

namespace {

std::vector<std::int32_t> groups_of(const Bundle& bundle) {
  std::vector<std::int32_t> group(static_cast<std::size_t>(bundle.catalog.size()), bundle.route_by.empty() ? -1 : 0);
  for (const std::string& name : bundle.route_by) {
    const auto& codes = bundle.attributes.texts()[bundle.attributes.find_text(name)].codes;
    std::unordered_map<std::uint64_t, std::int32_t> found;
    for (std::size_t row = 0; row < group.size(); ++row) {
      if (group[row] < 0 || codes[row] < 0) {
        group[row] = -1;
        continue;
      }
      const auto key =
          std::uint64_t{static_cast<std::uint32_t>(group[row])} << 32 | static_cast<std::uint32_t>(codes[row]);
      group[row] = found.try_emplace(key, static_cast<std::int32_t>(found.size())).first->second;
    }
  }
  return group;
}

std::vector<std::int32_t> clusters_of_groups(const std::vector<std::int32_t>& group,
                                             const std::vector<std::int32_t>& owner) {
  std::int32_t groups = 0;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> products;
  for (std::size_t row = 0; row < group.size(); ++row) {
    groups = std::max(groups, group[row] + 1);
    if (group[row] >= 0 && owner[row] >= 0) ++products[{group[row], owner[row]}];
  }
  std::vector<std::int32_t> cluster(static_cast<std::size_t>(groups), -1);
  std::vector<std::int64_t> most(static_cast<std::size_t>(groups), 0);
  for (const auto& [pair, count] : products) {
    if (count <= most[pair.first]) continue;
    most[pair.first] = count;
    cluster[pair.first] = pair.second;
  }
  return cluster;
}

}  // namespace

Routes::Routes(const Bundle& bundle)
    : owner(bundle.owners()), group(groups_of(bundle)), group_cluster(clusters_of_groups(group, owner)) {}

}  // namespace stamp
