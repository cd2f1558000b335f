#include "stamp/stamp_c.h"

#include <algorithm>
#include <cstring>

#include "stamp/recommender.h"

struct stamp_recommender {
  stamp::Recommender recommender;
};

struct stamp_ticket {
  stamp::Ticket ticket = {};
};

struct stamp_answer {
  stamp_status status = STAMP_OK;
  std::string error;
  stamp::Recommendation recommendation;
  std::string path;
  std::vector<stamp_id> ids, unknown;
};

namespace {

using namespace stamp;

thread_local std::string last_error;

// What is being thrown, as a status and a message.
stamp_status failure(std::string& message) noexcept {
  const auto failed = [&](stamp_status status, const char* why) {
    try {
      message = why;
    } catch (...) {  // no memory for it
      message.clear();
    }
    return status;
  };
  try {
    throw;
  } catch (const std::invalid_argument& error) {
    return failed(STAMP_INVALID, error.what());
  } catch (const DeadlineExceeded& error) {
    return failed(STAMP_LATE, error.what());
  } catch (const Cancelled& error) {
    return failed(STAMP_CANCELLED, error.what());
  } catch (const std::exception& error) {
    return failed(STAMP_FAILED, error.what());
  } catch (...) {
    return failed(STAMP_FAILED, "an unknown error");
  }
}

// Runs `work`; what it throws becomes a status and a message.
template <class Work>
stamp_status guarded(Work&& work, std::string& message = last_error) noexcept {
  try {
    work();
    return STAMP_OK;
  } catch (...) {
    return failure(message);
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

std::vector<Id> ids_of(const char* what, const stamp_id* ids, std::size_t n, const char* call = "stamp_recommend") {
  require(ids || n == 0, call, ": ", what, " is NULL, expected ", n, " ids");
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
                  .value = r.value ? std::optional(*r.value) : std::nullopt,
                  .tail = r.tail ? std::optional(*r.tail) : std::nullopt,
                  .objective = {},
                  .explain = r.explain != 0,
                  .diversify = r.no_diversify == 0};
  if (r.objective) request.objective = objective_from_json("recommend", r.objective);
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

void fill(stamp_answer& answer, Recommendation recommendation) {
  answer.recommendation = std::move(recommendation);
  answer.path = to_string(answer.recommendation.path);
  answer.ids = views(answer.recommendation.items);
  answer.unknown = views(answer.recommendation.unknown);
}

// What was found, or why nothing was.
void fill(stamp_answer& answer, Answer<Recommendation> found) noexcept {
  answer.status = guarded([&] { fill(answer, std::move(found).get()); }, answer.error);
  if (answer.status != STAMP_OK) answer.ids.clear();
}

// The caller's structures are as far apart as they are large.
const stamp_request& nth(const stamp_request* requests, std::size_t i) {
  return *reinterpret_cast<const stamp_request*>(reinterpret_cast<const char*>(requests) + i * requests->size);
}

// An answer for each of n requests, whatever becomes of it, into `answers`; none where this throws.
void recommend_each(const char* call, const stamp_recommender* recommender, const stamp_request* requests,
                    std::size_t n, stamp_answer** answers) {
  require(answers != nullptr || n == 0, call, ": answers is NULL, expected room for ", n);
  std::fill_n(answers, n, nullptr);
  require(recommender != nullptr && (requests != nullptr || n == 0), call, ": recommender or requests is NULL");
  if (n > 0) known_part(call, *requests);  // its size is how far apart they are
  std::vector<std::unique_ptr<stamp_answer>> found;
  std::vector<Request> asked;
  std::vector<std::size_t> whose;
  for (std::size_t i = 0; i < n; ++i) {
    stamp_answer& answer = *found.emplace_back(std::make_unique<stamp_answer>());
    Request request;
    answer.status = guarded([&] { request = request_of(nth(requests, i)); }, answer.error);
    if (answer.status != STAMP_OK) continue;
    asked.push_back(std::move(request));
    whose.push_back(i);
  }
  auto recommendations = recommender->recommender.recommend(asked);
  for (std::size_t i = 0; i < asked.size(); ++i) fill(*found[whose[i]], std::move(recommendations[i]));
  for (std::size_t i = 0; i < n; ++i) answers[i] = found[i].release();
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

stamp_status stamp_set_numbers(stamp_recommender* recommender, const char* attribute, const stamp_id* products,
                               const float* values, size_t n, size_t* unknown) {
  return guarded([&] {
    require(recommender != nullptr && attribute != nullptr && (values != nullptr || n == 0),
            "stamp_set_numbers: recommender, attribute or values is NULL");
    std::vector<ProductNumber> numbers;
    numbers.reserve(n);
    for (Id& product : ids_of("products", products, n, "stamp_set_numbers"))
      numbers.push_back({std::move(product), attribute, values[numbers.size()]});
    const std::size_t left_out = recommender->recommender.set_numbers(numbers);
    if (unknown) *unknown = left_out;
  });
}

void stamp_free(stamp_recommender* recommender) { delete recommender; }

stamp_status stamp_recommend(const stamp_recommender* recommender, const stamp_request* request,
                             stamp_answer** answer) {
  return guarded([&] {
    require(answer != nullptr, "stamp_recommend: answer is NULL, expected where to put it");
    *answer = nullptr;
    require(recommender != nullptr && request != nullptr, "stamp_recommend: recommender or request is NULL");
    auto found = std::make_unique<stamp_answer>();
    fill(*found, recommender->recommender.recommend(request_of(*request)));
    *answer = found.release();
  });
}

stamp_status stamp_recommend_many(const stamp_recommender* recommender, const stamp_request* requests, size_t n,
                                  stamp_answer** answers) {
  const stamp_status called =
      guarded([&] { recommend_each("stamp_recommend_many", recommender, requests, n, answers); });
  if (called != STAMP_OK) return called;
  const auto wrong = std::find_if(answers, answers + n, [](auto* answer) { return answer->status != STAMP_OK; });
  if (wrong == answers + n) return STAMP_OK;
  const stamp_status status = (*wrong)->status;
  last_error.swap((*wrong)->error);
  for (std::size_t i = 0; i < n; ++i) delete std::exchange(answers[i], nullptr);
  return status;
}

stamp_status stamp_recommend_each(const stamp_recommender* recommender, const stamp_request* requests, size_t n,
                                  stamp_answer** answers) {
  return guarded([&] { recommend_each("stamp_recommend_each", recommender, requests, n, answers); });
}

stamp_status stamp_submit(const stamp_recommender* recommender, const stamp_request* request, int64_t deadline,
                          stamp_callback callback, void* context, stamp_ticket** ticket) {
  return guarded([&] {
    if (ticket) *ticket = nullptr;
    require(recommender != nullptr && request != nullptr && callback != nullptr,
            "stamp_submit: recommender, request or callback is NULL");
    const auto now = std::chrono::steady_clock::now();
    const auto most = std::chrono::duration_cast<std::chrono::microseconds>(Recommender::kNoDeadline - now).count();
    const auto time = deadline == 0 || deadline >= most ? Recommender::kNoDeadline
                                                        : now + std::chrono::microseconds(std::max(deadline, -most));
    // Memory for what the callback gets and for the ticket is had now, when there is somebody to tell that there is
    // none.
    auto answer = std::make_shared<std::unique_ptr<stamp_answer>>(std::make_unique<stamp_answer>());
    auto kept = ticket ? std::make_unique<stamp_ticket>() : nullptr;
    Ticket submitted = recommender->recommender.submit(
        request_of(*request),
        [answer = std::move(answer), callback, context](Answer<Recommendation> found) {
          fill(**answer, std::move(found));
          callback(answer->release(), context);
        },
        time);
    if (!ticket) return;
    kept->ticket = std::move(submitted);
    *ticket = kept.release();
  });
}

int stamp_cancel(const stamp_ticket* ticket) { return ticket != nullptr && ticket->ticket.cancel(); }
void stamp_ticket_free(stamp_ticket* ticket) { delete ticket; }

stamp_status stamp_answer_status(const stamp_answer* answer) { return answer->status; }
const char* stamp_answer_error(const stamp_answer* answer) { return answer->error.c_str(); }
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
