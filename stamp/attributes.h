// What is known of each product beside its id: attributes, each a text or a number, or missing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stamp/texts.h"

namespace stamp {

// A column of texts: distinct values once, and for each product which.
struct STAMP_API TextAttribute {
  static constexpr std::int32_t kMissing = -1;

  std::string name;
  std::vector<std::string> values;
  std::vector<std::int32_t> codes;  // [V] index into values, or kMissing

  // Code of a value, or kMissing where no product has it.
  std::int32_t find(const std::string& value) const;
};

// A column of numbers, prices say. Truth values are 0 and 1.
struct STAMP_API NumberAttribute {
  std::string name;
  std::vector<float> values;  // [V], NaN where missing
};

class STAMP_API Attributes {
 public:
  explicit Attributes(std::int64_t V = 0) : V_(V) {}

  std::int64_t V() const { return V_; }
  // Throws std::invalid_argument when a name stands twice or is empty, the column is not of V products, a code is
  // outside its values, a value stands twice.
  void add(TextAttribute attribute);
  void add(NumberAttribute attribute);

  const std::vector<TextAttribute>& texts() const { return texts_; }
  const std::vector<NumberAttribute>& numbers() const { return numbers_; }
  // Index into texts() or numbers(), or -1.
  std::int32_t find_text(const std::string& name) const;
  std::int32_t find_number(const std::string& name) const;
  std::string names() const;  // "brand, category, price", for messages

  // As tensors: `attribute.<name>.codes` I32 [V] with `attribute.<name>.value_bytes` U8 and `.value_offsets` I64, or
  // `attribute.<name>.numbers` F32 [V]. They view this object's memory.
  std::map<std::string, TensorSource> tensors() const;
  static Attributes from(const Safetensors& file, std::int64_t V);

 private:
  std::int64_t V_;
  std::vector<TextAttribute> texts_;
  std::vector<NumberAttribute> numbers_;
  std::vector<PackedTexts> packed_;  // values of texts_, so that tensors() has memory to view
};

}  // namespace stamp
