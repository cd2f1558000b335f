// Numbers of products that change while a release is served.
#include "stamp/internal/release.h"

namespace stamp {

std::string number_names(const Attributes& attributes) {
  std::string names;
  for (const NumberAttribute& number : attributes.numbers()) names += (names.empty() ? "" : ", ") + number.name;
  return names.empty() ? "none" : names;
}

std::shared_ptr<const std::vector<NumberAttribute>> Release::numbers() const { return numbers_->latest(); }

std::int32_t Release::number_column(const std::string& attribute) const {
  const std::int32_t column = bundle_.attributes.find_number(attribute);
  require(column >= 0, "set_numbers: attribute is '", attribute, "', expected a number of the products, which have ",
          number_names(bundle_.attributes));
  return column;
}

void Release::set_numbers(std::span<const NumberChange> changes) {
  const auto columns = static_cast<std::int32_t>(bundle_.attributes.numbers().size());
  const std::int64_t V = bundle_.catalog.size();
  for (const NumberChange& change : changes) {
    require(change.row >= 0 && change.row < V, "set_numbers: row is ", change.row, ", expected 0 or more, below ", V);
    require(change.column >= 0 && change.column < columns, "set_numbers: column is ", change.column,
            ", expected one of the ", columns, " of numbers that the catalog has");
  }
  if (changes.empty()) return;
  std::lock_guard one_at_a_time(loading_);
  std::vector<NumberChange> listed;                             // of products that can be recommended,
  std::vector<std::vector<NumberChange>> known(slots_.size());  // and by the model that knows them
  for (const NumberChange& change : changes) {
    if (!recommendable_[change.row]) continue;
    listed.push_back(change);
    if (owner_[change.row] >= 0) known[owner_[change.row]].push_back(change);
  }
  // All of it is prepared, then published: where memory runs out nothing has changed.
  auto numbers = numbers_->prepare({changes.begin(), changes.end()}, [](auto& values, const auto& some) {
    for (const NumberChange& change : some) values[change.column].values[change.row] = change.value;
  });
  const auto apply = [&](Shelf& shelf, const auto& some) { change(shelf, some, numbers.value()); };
  auto all = all_->prepare(std::move(listed), apply);
  std::vector<std::pair<std::shared_ptr<const Loaded>, Shelves::Next>> shelves;
  for (std::size_t c = 0; c < known.size(); ++c) {
    if (known[c].empty()) continue;
    std::shared_ptr<const Loaded> loaded;
    {
      std::lock_guard lock(mutex_);
      loaded = slots_[c].loaded;
    }
    if (!loaded) continue;
    auto next = loaded->shelves.prepare(std::move(known[c]), apply);
    shelves.emplace_back(std::move(loaded), std::move(next));
  }
  numbers_->publish(std::move(numbers));
  all_->publish(std::move(all));
  for (auto& [loaded, next] : shelves) loaded->shelves.publish(std::move(next));
}

// Places of a shelf, and what rules and values of each zone that look at the numbers make of them now.
void Release::change(Shelf& shelf, std::span<const NumberChange> changes,
                     const std::vector<NumberAttribute>& numbers) const {
  const Visit visit{.attributes = &bundle_.attributes, .numbers = &numbers};
  bool is_least_known = true;
  for (const NumberChange& change : changes) {
    const std::int32_t place = shelf.candidates.find(change.row);
    shelf.candidates.set_number(change.column, place, change.value);
    for (auto& [name, fixed] : shelf.fixed) {
      const Rules& rules = zones_.find(name)->second.rules;
      if (rules.fixed_by(change.column)) rules.renew(fixed, shelf.candidates, place, visit);
    }
    if (change.column != value_column_ || shelf.terms.empty()) continue;
    if (shelf.terms.set_value(place, change.value)) is_least_known = false;
    for (auto& [name, row] : shelf.with_terms) {
      const auto boosts = shelf.fixed.find(name)->second.boosts();
      row.set(place, (boosts.empty() ? 0 : boosts[place]) + shelf.terms(place, zones_.find(name)->second.powers));
    }
  }
  if (is_least_known || !shelf.terms.set_least(shelf.candidates.numbers(value_column_))) return;
  for (auto& [name, row] : shelf.with_terms) row.set(with_terms(shelf, name));
}

}  // namespace stamp
