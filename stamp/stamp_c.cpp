#include "stamp/stamp_c.h"

#include <algorithm>
#include <cstring>

#include "stamp/recommender.h"

struct stamp_recommender {
  stamp::Recommender recommender;
};

struct stamp_answer {
  stamp::Recommendation recommendation;
  std::string path;
  std::vector<stamp_id> ids, unknown;
};

namespace {

using namespace stamp;

thread_local std::string last_error;

stamp_status failed(stamp_status status, const char* why) noexcept {
  try {
    last_error = why;
  } catch (...) {  // no memory for the message
    last_error.clear();
  }
  return status;
}

// Runs `work`; what it throws becomes a status and a message.
template <class Work>
stamp_status guarded(Work&& work) noexcept {
  try {
    work();
    return STAMP_OK;
  } catch (const std::invalid_argument& error) {
    return failed(STAMP_INVALID, error.what());
  } catch (const std::exception& error) {
    return failed(STAMP_FAILED, error.what());
  } catch (...) {
    return failed(STAMP_FAILED, "an unknown error");
  }
}

// The caller's structure, as far as its size goes; what an older caller does not know of is 0.
template <class T>
T known_part(const char* call, const T& given) {
  require(given.size >= sizeof given.size && given.size <= 2 * sizeof(T), call, ": size is ", given.size,
          ", expected the structure's sizeof, ", sizeof(T));
  T whole{};
  std::memcpy(&whole, &given, std::min(given.size, sizeof(T)));
  return whole;
}

std::string text_or(const char* text, const char* otherwise) { return text ? text : otherwise; }

std::vector<Id> ids_of(const char* what, const stamp_id* ids, std::size_t n) {
  require(ids || n == 0, "stamp_recommend: ", what, " is NULL, expected ", n, " ids");
  std::vector<Id> result;
  result.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i].text)
      result.emplace_back(std::string(ids[i].text));
    else
      result.emplace_back(ids[i].number);
  }
  return result;
}

Request request_of(const stamp_request& given) {
  const stamp_request r = known_part("recommend: request", given);
  Request request{.events = ids_of("events", r.events, r.n_events),
                  .bought = ids_of("bought", r.bought, r.n_bought),
                  .exclude = ids_of("exclude", r.exclude, r.n_exclude),
                  .only = {},
                  .k = r.k,
                  .history = r.history,
                  .zone = text_or(r.zone, ""),
                  .rules = text_or(r.rules, ""),
                  .explain = r.explain != 0};
  if (r.only) request.only = ids_of("only", r.only, r.n_only);
  return request;
}

// Views of ids; texts stay where they are.
std::vector<stamp_id> views(const std::vector<Id>& ids) {
  std::vector<stamp_id> result;
  result.reserve(ids.size());
  for (const Id& id : ids) {
    const auto* text = std::get_if<std::string>(&id);
    result.push_back({text ? text->c_str() : nullptr, text ? 0 : std::get<std::int64_t>(id)});
  }
  return result;
}

std::unique_ptr<stamp_answer> answer_of(Recommendation recommendation) {
  auto answer = std::make_unique<stamp_answer>();
  answer->recommendation = std::move(recommendation);
  answer->path = to_string(answer->recommendation.path);
  answer->ids = views(answer->recommendation.items);
  answer->unknown = views(answer->recommendation.unknown);
  return answer;
}

}  // namespace

const char* stamp_version() { return STAMP_VERSION; }
const char* stamp_last_error() { return last_error.c_str(); }

stamp_status stamp_load(const char* path, const stamp_options* given, stamp_recommender** recommender) {
  return guarded([&] {
    require(recommender != nullptr, "stamp_load: recommender is NULL, expected where to put it");
    *recommender = nullptr;
    require(path != nullptr, "stamp_load: path is NULL, expected that of a bundle");
    ReleaseOptions options;
    if (given) {
      const stamp_options o = known_part("stamp_load", *given);
      options.device = text_or(o.device, "auto");
      options.precision = precision_from_string(text_or(o.precision, "auto"));
      options.lazy = o.lazy != 0;
      options.memory = o.memory;
      options.scan.window = std::chrono::microseconds(o.window);
    }
    *recommender = new stamp_recommender{Recommender(path, options)};
  });
}

stamp_status stamp_reload(stamp_recommender* recommender, const char* path) {
  return guarded([&] {
    require(recommender != nullptr, "stamp_reload: recommender is NULL");
    path ? recommender->recommender.reload(path) : recommender->recommender.reload();
  });
}

void stamp_free(stamp_recommender* recommender) { delete recommender; }

stamp_status stamp_recommend(const stamp_recommender* recommender, const stamp_request* request,
                             stamp_answer** answer) {
  return guarded([&] {
    require(answer != nullptr, "stamp_recommend: answer is NULL, expected where to put it");
    *answer = nullptr;
    require(recommender != nullptr && request != nullptr, "stamp_recommend: recommender or request is NULL");
    *answer = answer_of(recommender->recommender.recommend(request_of(*request))).release();
  });
}

stamp_status stamp_recommend_many(const stamp_recommender* recommender, const stamp_request* requests, size_t n,
                                  stamp_answer** answers) {
  return guarded([&] {
    require(answers != nullptr || n == 0, "stamp_recommend_many: answers is NULL, expected room for ", n);
    std::fill_n(answers, n, nullptr);
    require(recommender != nullptr && (requests != nullptr || n == 0),
            "stamp_recommend_many: recommender or requests is NULL");
    std::vector<Request> all;
    for (std::size_t i = 0; i < n; ++i) {  // the caller's structures are as far apart as they are large
      const auto* given = reinterpret_cast<const char*>(requests) + i * requests->size;
      all.push_back(request_of(*reinterpret_cast<const stamp_request*>(given)));
    }
    std::vector<std::unique_ptr<stamp_answer>> found;
    for (auto& recommendation : recommender->recommender.recommend(all))
      found.push_back(answer_of(std::move(recommendation)));
    for (std::size_t i = 0; i < n; ++i) answers[i] = found[i].release();
  });
}

size_t stamp_answer_size(const stamp_answer* answer) { return answer->ids.size(); }
const stamp_id* stamp_answer_ids(const stamp_answer* answer) { return answer->ids.data(); }
const float* stamp_answer_scores(const stamp_answer* answer) { return answer->recommendation.scores.data(); }
const char* stamp_answer_path(const stamp_answer* answer) { return answer->path.c_str(); }
int64_t stamp_answer_cluster(const stamp_answer* answer) { return answer->recommendation.cluster; }
size_t stamp_answer_unknown_size(const stamp_answer* answer) { return answer->unknown.size(); }
const stamp_id* stamp_answer_unknown(const stamp_answer* answer) { return answer->unknown.data(); }
const char* stamp_answer_reason(const stamp_answer* answer) { return answer->recommendation.reason.c_str(); }
const char* stamp_answer_explanation(const stamp_answer* answer) { return answer->recommendation.explanation.c_str(); }
void stamp_answer_free(stamp_answer* answer) { delete answer; }
