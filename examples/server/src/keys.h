// Bearer keys: who may write events, and who may administer. Of keys only hashes are kept, and neither is in any log.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "metrics.h"
#include "sha256.h"

namespace server {

// The file has a line for each key; empty ones and what follows # are passed over:
//   NAME SHA256 RIGHTS [REQUESTS_PER_SECOND]
//   shop 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 write 500
//   ops  6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090 write,admin
// SHA256 is that of the whole key; keys are long and random (new_key), so their hashes need no salt. Lines of one name
// share its quota, which the last of them says: to change a key, add the new one's line, move the callers, remove the
// old one's.
//
// Thread-safe. A file that has changed is read again, looked at once a second at most; one that cannot be is counted
// (stamp_keys_failures_total) and the keys that were read before it hold.
class Keys {
 public:
  enum Right : unsigned { write = 1, admin = 2 };

  // No file: no keys, and nothing to check. Throws std::runtime_error for a file that cannot be read and
  // std::invalid_argument for one that cannot be, with the line.
  Keys(std::string file, Metrics& metrics);

  bool any() const { return !file_.empty(); }
  // `authorization`: the header's value. Throws Error 401 where it has no key that is known, 403 where the key has not
  // the right, 429 where it has used up its requests: one second's may come at once, and after one second there is
  // another.
  void check(std::string_view authorization, Right right);

  // A new key of 256 random bits, and its line.
  static std::string new_key(const std::string& name);

 private:
  struct Key {
    std::string name;
    Sha256::Bytes hash;
    unsigned rights;
    int per_second;  // 0: no bound
  };
  struct Bucket {
    double left;
    std::chrono::steady_clock::time_point at;
  };
  static std::vector<Key> read(const std::string& file);
  void look();  // under the lock

  const std::string file_;
  Sum& denied_;
  Sum& over_quota_;
  Sum& failures_;
  std::mutex mutex_;  // of what follows
  std::vector<Key> keys_;
  std::string state_;  // of the file when it was read
  std::chrono::steady_clock::time_point looked_;
  std::map<std::string, Bucket> buckets_;  // by name
};

}  // namespace server
