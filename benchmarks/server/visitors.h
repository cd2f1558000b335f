// Who asks for what: visitors that walk through sessions, one product after another.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace load {

// A visitor at a product. The last `seen` products of the session end with it.
struct Look {
  std::uint32_t session = 0;
  std::uint32_t round = 0;  // the sessions start over with visitors of other names, as they do with another seed
  std::uint32_t seen = 1;   // products of the session, this one included
};

class Visitors {
 public:
  // One session a line, a visitor and products, with spaces between. Throws std::runtime_error for what is none.
  static Visitors from_file(const std::string& path, std::uint64_t seed);
  // Sessions of four products in the mean, of 0 to products - 1 by Zipf's law.
  static Visitors made_up(std::uint64_t products, std::uint64_t seed);

  // So many at once, or as many as there are sessions: at the beginning of theirs, or at the end, where all is written.
  void admit(std::size_t visitors, bool at_end);

  Look next();              // a visitor goes on by one product
  void written(Look look);  // the server knows of it: it may be asked about
  Look ask();               // what was written and not asked about yet, the oldest; else anybody

  std::string visitor(Look look) const;
  std::vector<std::string_view> products(Look look) const;  // the last is looked at now

 private:
  explicit Visitors(std::uint64_t seed) : random_(seed), round_(static_cast<std::uint32_t>(1000 * seed)) {}
  void add(std::string visitor, const std::vector<std::string>& products);
  Look start();
  std::uint32_t length(Look look) const;

  std::mt19937_64 random_;
  std::vector<std::string> names_, products_;
  std::vector<std::size_t> offsets_{0};  // a session's products
  std::vector<Look> walking_;
  std::deque<Look> written_;
  std::uint32_t started_ = 0, round_;
};

}  // namespace load
