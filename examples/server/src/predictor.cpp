#include "predictor.h"

#include <algorithm>
#include <atomic>
#include <charconv>

#include "clock.h"
#include "error.h"

namespace server {

namespace {

using Clock = std::chrono::steady_clock;

// The id of a product in the store, where it can be one of the catalog's.
std::optional<stamp::Id> id_of(const std::string& item, stamp::Catalog::Kind kind) {
  if (item.empty()) return std::nullopt;
  if (kind == stamp::Catalog::Kind::strings) return item;
  std::int64_t number;
  const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), number);
  if (error != std::errc() || end != item.data() + item.size()) return std::nullopt;
  return number;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) ((text += text.empty() ? "\"" : ", \"") += name) += '"';
  return text.empty() ? "none" : text;
}

}  // namespace

struct Predictor::Page {
  std::vector<Prediction> asked;
  std::vector<Predicted> answers;
  std::shared_ptr<Serving> serving;
  std::vector<stamp::Id> session, bought;  // of the visitor
  Admission::Level level;
  Clock::time_point deadline, began;
  std::string request_id;
  std::atomic<std::size_t> left;
  Done done;
};

Predictor::Predictor(const Config& config, const Releases& releases, Visits* visits, const Tokens& tokens,
                     Admission& admission, Metrics& metrics)
    : config_(config),
      releases_(releases),
      visits_(visits),
      tokens_(tokens),
      admission_(admission),
      refused_(metrics.counter("stamp_refused_total", "Requests that would have waited too long.")),
      without_events_(metrics.counter("stamp_degraded_total", "Answers that do without a part.", "part=\"events\"")),
      visits_time_(metrics.histogram("stamp_visits_read_seconds", "Reading a visitor's events.")),
      list_time_(metrics.histogram("stamp_list_seconds", "From asking the library to its answer.")) {
  for (int path = 0; path <= static_cast<int>(stamp::Path::none); ++path)
    by_path_.push_back(&metrics.counter("stamp_lists_total", "Lists by how they were found.",
                                        "path=\"" + stamp::to_string(static_cast<stamp::Path>(path)) + '"'));
  metrics.gauge("stamp_in_flight", "Requests that are being answered.",
                [&] { return static_cast<double>(admission_.in_flight()); });
}

void Predictor::predict(std::vector<Prediction> asked, Clock::time_point arrived, std::string request_id, Done done) {
  auto page = std::make_shared<Page>();
  page->level = admission_.enter();
  if (page->level == Admission::Level::refused) {
    refused_.add();
    throw Error(503, "the server is at its limit; come again later");
  }
  page->asked = std::move(asked);
  page->answers.resize(page->asked.size());
  page->serving = releases_.current();
  page->deadline = arrived + std::chrono::milliseconds(config_.predict.deadline_ms);
  page->began = arrived;
  page->request_id = std::move(request_id);
  page->left = page->asked.size();
  page->done = std::move(done);

  const Prediction& first = page->asked.front();  // visitor and events are those of the page
  if (!visits_ || first.visitor.empty() || first.events || page->level == Admission::Level::popular) return list(page);
  const std::int64_t since = now_ms() - 1000 * config_.visits.max_age_s;
  const auto deadline =
      std::min(page->deadline, Clock::now() + std::chrono::milliseconds(config_.visits.timeout_ms));
  visits_->last(first.visitor, config_.visits.max_events, since, deadline,
                [this, page, asked_at = Clock::now()](std::vector<Event> events, std::exception_ptr error) {
                  visits_time_.observe(Clock::now() - asked_at);
                  if (error) {
                    without_events_.add();
                    for (Predicted& answer : page->answers) answer.degraded.push_back("events");
                  }
                  const auto is_purchase = [&](const Event& event) {
                    return std::ranges::find(config_.visits.bought_types, event.type) !=
                           config_.visits.bought_types.end();
                  };
                  const std::int64_t gap = 1000ll * config_.visits.session_gap_s;
                  std::int64_t next = now_ms();
                  auto begin = events.end();  // of the session
                  while (begin != events.begin() && next - std::prev(begin)->time <= gap) next = (--begin)->time;
                  for (auto event = events.begin(); event != events.end(); ++event) {
                    const std::optional<stamp::Id> id = id_of(event->item, page->serving->kind);
                    if (!id) continue;
                    if (event >= begin) page->session.push_back(*id);
                    if (is_purchase(*event)) page->bought.push_back(*id);
                  }
                  list(page);
                });
}

void Predictor::list(const std::shared_ptr<Page>& page) const {
  for (std::size_t i = 0; i < page->asked.size(); ++i) {
    Prediction& asked = page->asked[i];
    Predicted& answer = page->answers[i];
    if (!asked.zone.empty() && !page->serving->has_zone(asked.zone)) {
      answer.error = std::make_exception_ptr(
          Error(404, "zone: there is no \"" + asked.zone + "\"; there are " + joined(page->serving->zones)));
      finish(page);
      continue;
    }
    stamp::Request request{.events = asked.events ? *asked.events : page->session,
                           .bought = asked.bought,
                           .exclude = asked.exclude,
                           .only = asked.only,
                           .k = asked.k,
                           .history = asked.history,
                           .zone = asked.zone,
                           .rules = asked.rules,
                           .explain = asked.explain};
    request.bought.insert(request.bought.end(), page->bought.begin(), page->bought.end());
    // A page that was written as an event and then asked about is one look, not two.
    const bool is_written = !asked.events && !asked.current.empty() && !request.events.empty() &&
                            request.events.back() == asked.current.back();
    if (!is_written) request.events.insert(request.events.end(), asked.current.begin(), asked.current.end());
    if (page->level != Admission::Level::full && asked.explain) {
      request.explain = false;
      answer.degraded.push_back("explanation");
    }
    if (page->level == Admission::Level::popular && !request.events.empty()) {
      request.events.clear();
      answer.degraded.push_back("model");
    }
    submit(page, i, std::move(request));
  }
}

void Predictor::submit(const std::shared_ptr<Page>& page, std::size_t i, stamp::Request request) const {
  try {
    page->serving->recommender.submit(
        std::move(request),
        [this, page, i](stamp::Answer<stamp::Recommendation> list) { answer(page, i, std::move(list)); },
        page->deadline);
  } catch (...) {
    page->answers[i].error = std::current_exception();
    finish(page);
  }
}

void Predictor::answer(const std::shared_ptr<Page>& page, std::size_t i,
                       stamp::Answer<stamp::Recommendation> list) const {
  Prediction& asked = page->asked[i];
  Predicted& answer = page->answers[i];
  if (!list) {
    answer.error = list.error();
    return finish(page);
  }
  answer.list = std::move(list).get();
  if (answer.list.items.empty() && !asked.strict && (!asked.rules.empty() || asked.only)) {
    stamp::Request popular{.events = {}, .exclude = asked.exclude, .k = asked.k, .zone = asked.zone, .explain = asked.explain};
    asked.rules.clear();
    asked.only.reset();
    return submit(page, i, std::move(popular));
  }
  by_path_[static_cast<std::size_t>(answer.list.path)]->add();
  answer.release = page->serving->name;
  answer.token = tokens_.token(
      {.release = answer.release, .zone = asked.zone, .arm = "", .request = page->request_id, .time = now_ms()});
  if (asked.validate_only) answer.list.items.clear();
  finish(page);
}

void Predictor::finish(const std::shared_ptr<Page>& page) const {
  if (page->left.fetch_sub(1) > 1) return;
  admission_.leave();
  list_time_.observe(Clock::now() - page->began);
  page->done(page->asked, std::move(page->answers));
}

}  // namespace server
