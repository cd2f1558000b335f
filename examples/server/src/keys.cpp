#include "keys.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <stdexcept>

#include "error.h"
#include "log.h"
#include "stamp/files.h"

namespace server {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kScheme = "bearer ";
constexpr std::string_view kPrefix = "stamp_";  // of new keys: scanners of secrets find it
constexpr std::size_t kMostBytes = 512;         // of a key that is presented
constexpr int kMostPerSecond = 1'000'000;

std::string state_of(const std::string& file) {
  struct stat is;
  if (stat(file.c_str(), &is) != 0) return {};
  std::string state;
  for (const auto part : {static_cast<std::int64_t>(is.st_ino), static_cast<std::int64_t>(is.st_size),
                          static_cast<std::int64_t>(is.st_mtim.tv_sec), static_cast<std::int64_t>(is.st_mtim.tv_nsec)})
    state += std::to_string(part) + ' ';
  return state;
}

bool from_hexadecimal(std::string_view text, Sha256::Bytes& bytes) {
  if (text.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, bytes[i], 16).ptr != text.data() + 2 * i + 2)
      return false;
  return true;
}

// The key in "Bearer KEY"; empty where there is none.
std::string_view key_of(std::string_view authorization) {
  if (authorization.size() <= kScheme.size() || authorization.size() > kScheme.size() + kMostBytes) return {};
  for (std::size_t i = 0; i < kScheme.size(); ++i)
    if ((authorization[i] | 0x20) != kScheme[i]) return {};
  authorization.remove_prefix(kScheme.size());
  return authorization;
}

}  // namespace

Keys::Keys(std::string file, Metrics& metrics)
    : file_(std::move(file)),
      denied_(metrics.counter("stamp_denied_total", "Requests without a key that may.", "why=\"key\"")),
      over_quota_(metrics.counter("stamp_denied_total", "Requests without a key that may.", "why=\"quota\"")),
      failures_(metrics.counter("stamp_keys_failures_total", "Files of keys that could not be read.")) {
  if (!any()) return;
  state_ = state_of(file_);
  keys_ = read(file_);
  looked_ = Clock::now();
}

std::vector<Keys::Key> Keys::read(const std::string& file) {
  std::vector<Key> keys;
  std::istringstream lines(stamp::read_file(file));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto fail = [&](const std::string& what) {  // never the line itself
      throw std::invalid_argument(file + ": line " + std::to_string(number) + ": " + what +
                                  "; NAME SHA256 RIGHTS [REQUESTS_PER_SECOND] is expected");
    };
    std::istringstream words(line.substr(0, line.find('#')));
    std::string hash, rights, per_second, more;
    Key key{};
    if (!(words >> key.name)) continue;
    if (!(words >> hash >> rights)) fail("has less than three words");
    if (!from_hexadecimal(hash, key.hash)) fail("the second word is not 64 hexadecimal digits");
    std::istringstream list(rights);
    for (std::string right; std::getline(list, right, ',');) {
      if (right != "write" && right != "admin")
        fail("the third word is not of \"write\" and \"admin\", with a comma between");
      key.rights |= right == "write" ? Right::write : Right::admin;
    }
    if (words >> per_second) {
      const auto [end, error] =
          std::from_chars(per_second.data(), per_second.data() + per_second.size(), key.per_second);
      if (error != std::errc() || end != per_second.data() + per_second.size() || key.per_second < 1 ||
          key.per_second > kMostPerSecond)
        fail("the fourth word is no integer from 1 to " + std::to_string(kMostPerSecond));
    }
    if (words >> more) fail("has more than four words");
    if (std::ranges::any_of(keys, [&](const Key& known) { return known.hash == key.hash; }))
      fail("is of a key that stands above");
    keys.push_back(std::move(key));
  }
  return keys;
}

void Keys::look() {
  const Clock::time_point now = Clock::now();
  if (now - looked_ < std::chrono::seconds(1)) return;
  looked_ = now;
  std::string state = state_of(file_);
  if (state == state_) return;
  state_ = std::move(state);
  try {
    keys_ = read(file_);
    log(file_ + ": " + std::to_string(keys_.size()) + " keys");
  } catch (const std::exception& error) {
    failures_.add();
    log(std::string("keys are those of before: ") + error.what());
  }
}

void Keys::check(std::string_view authorization, Right right) {
  const std::string_view given = key_of(authorization);
  const Sha256::Bytes hash = sha256(given);
  const std::lock_guard lock(mutex_);
  look();
  const Key* found = nullptr;
  for (const Key& key : keys_)  // all of them: how long it takes says nothing
    if (CRYPTO_memcmp(key.hash.data(), hash.data(), hash.size()) == 0) found = &key;
  if (given.empty() || !found) {
    denied_.add();
    throw Error(401,
                given.empty() ? "a key is expected: \"Authorization: Bearer KEY\"" : "the key is none that is known");
  }
  if (!(found->rights & right)) {
    denied_.add();
    throw Error(403,
                "the key \"" + found->name + "\" may not " + (right == Right::admin ? "administer" : "write events"));
  }
  int per_second = 0;
  for (const Key& key : keys_)
    if (key.name == found->name) per_second = key.per_second;
  if (per_second == 0) return;
  const Clock::time_point now = Clock::now();
  Bucket& bucket = buckets_.try_emplace(found->name, static_cast<double>(per_second), now).first->second;
  bucket.left =
      std::min<double>(per_second, bucket.left + per_second * std::chrono::duration<double>(now - bucket.at).count());
  bucket.at = now;
  if (bucket.left < 1) {
    over_quota_.add();
    throw Error(429, "the key \"" + found->name + "\" may make " + std::to_string(per_second) + " requests a second");
  }
  bucket.left -= 1;
}

std::string Keys::new_key(const std::string& name) {
  if (name.empty() || name.find_first_of(" \t\r\n#") != name.npos)
    throw std::invalid_argument("\"" + name + "\" cannot be the name of a key; one word without # is expected");
  Sha256::Bytes random;
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
    throw std::runtime_error("no random numbers can be had for a key");
  const std::string key = std::string(kPrefix) + hexadecimal(random);
  return "key, which is shown only now:       " + key + "\nline for the file of keys (keys.file): " + name + ' ' +
         hexadecimal(sha256(key)) + " write\n";
}

}  // namespace server
