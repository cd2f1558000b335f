#include "predictor.h"

#include <algorithm>
#include <atomic>

#include "clock.h"
#include "error.h"
#include "exploration.h"
#include "json_writer.h"
#include "priority.h"

namespace server {

namespace {

using Clock = std::chrono::steady_clock;

// A release may be without the zone of an arm, or have ids of another kind than its bundle: the arm is nobody's then.
bool can_be(const Assignment& assignment, const Serving& served) {
  if (!assignment.arm) return true;
  const Serving& serving = assignment.serving ? *assignment.serving : served;
  return serving.kind == served.kind && (assignment.arm->zone.empty() || serving.has_zone(assignment.arm->zone));
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) ((text += text.empty() ? "\"" : ", \"") += name) += '"';
  return text.empty() ? "none" : text;
}

}  // namespace

// What one list of a page is made by.
struct Making {
  Assignment assignment;
  std::shared_ptr<Serving> serving;
  int explored_k = 0;                                    // where the order is explored: how long the list is
  std::optional<stamp::Request> without_own_rules = {};  // what is asked where these leave nothing
  std::optional<Shadow::Asked> shadowed = {};            // what a candidate is asked afterwards
};

struct Predictor::Page {
  std::vector<Prediction> asked;
  std::vector<Predicted> answers;
  std::vector<Making> makings;
  std::shared_ptr<Serving> serving;
  std::vector<stamp::Id> session, bought;  // of the visitor
  Admission::Level level;
  Clock::time_point deadline, began;
  std::string request_id;
  std::atomic<std::size_t> left;
  Done done;
  Admission* admission = nullptr;  // that it is to leave
  bool is_queued = false;

  void leave() {
    if (admission) std::exchange(admission, nullptr)->leave(is_queued);
  }
  ~Page() { leave(); }
};

Predictor::Predictor(const Parts& parts, Metrics& metrics)
    : config_(parts.config),
      releases_(parts.releases),
      visits_(parts.visits),
      experiments_(parts.experiments),
      exposures_(parts.exposures),
      secret_(parts.secret),
      tokens_(parts.tokens),
      admission_(parts.admission),
      shadow_(parts.shadow),
      refused_(metrics.counter("stamp_refused_total", "Requests that would have waited too long.")),
      without_events_(metrics.counter("stamp_degraded_total", "Answers that do without a part.", "part=\"events\"")),
      visits_time_(metrics.histogram("stamp_visits_read_seconds", "Reading a visitor's events.")),
      list_time_(metrics.histogram("stamp_list_seconds", "From a question to its lists.")) {
  for (int path = 0; path <= static_cast<int>(stamp::Path::none); ++path)
    by_path_.push_back(&metrics.counter("stamp_lists_total", "Lists by how they were found.",
                                        "path=\"" + stamp::to_string(static_cast<stamp::Path>(path)) + '"'));
  for (const ExperimentOptions& experiment : experiments_.options())
    for (const ArmOptions& arm : experiment.arms)
      exposed_[&arm] = &metrics.counter("stamp_exposures_total", "Lists of visitors in experiments.",
                                        "experiment=\"" + experiment.name + "\",arm=\"" + arm.name + '"');
  metrics.gauge("stamp_in_flight", "Requests that are being answered.",
                [&] { return static_cast<double>(admission_.in_flight()); });
}

void Predictor::predict(std::vector<Prediction> asked, Clock::time_point arrived, std::string request_id, Done done) {
  auto page = std::make_shared<Page>();
  page->serving = releases_.current();
  page->level = admission_.enter();
  if (page->level == Admission::Level::refused) {
    refused_.add();
    throw Error(503, "the server is at its limit; come again later");
  }
  page->admission = &admission_;
  page->asked = std::move(asked);
  page->answers.resize(page->asked.size());
  page->deadline = arrived + std::chrono::milliseconds(config_.predict.deadline_ms);
  page->began = arrived;
  page->request_id = std::move(request_id);
  page->left = page->asked.size();
  page->done = std::move(done);

  const Prediction& first = page->asked.front();  // visitor and events are those of the page
  if (!visits_ || first.visitor.empty() || first.events || page->level == Admission::Level::popular) return list(page);
  const std::int64_t since = now_ms() - 1000 * config_.visits.max_age_s;
  const auto deadline = std::min(page->deadline, Clock::now() + std::chrono::milliseconds(config_.visits.timeout_ms));
  visits_->last(first.visitor, config_.visits.max_events, since, deadline,
                [this, page, asked_at = Clock::now()](const std::vector<Event>& events, std::exception_ptr error) {
                  visits_time_.observe(Clock::now() - asked_at);
                  if (error) {
                    without_events_.add();
                    for (Predicted& answer : page->answers) answer.degraded.push_back("events");
                  }
                  read_events(*page, events);
                  list(page);
                });
}

// Events of the session, which the last long pause begins, and what was bought before, too. As preparation tells sessions
// apart, of which models learn: an event that was sent twice is one, and only events of products make pauses shorter.
void Predictor::read_events(Page& page, const std::vector<Event>& events) const {
  std::vector<const Event*> of_products;
  for (const Event& event : events)
    if (!event.item.empty() && (of_products.empty() || event != *of_products.back())) of_products.push_back(&event);
  const std::int64_t gap = 1000ll * config_.visits.session_gap_s;
  std::int64_t next = now_ms();
  auto begin = of_products.end();
  while (begin != of_products.begin() && next - (*std::prev(begin))->time <= gap) next = (*--begin)->time;
  for (auto event = of_products.begin(); event != of_products.end(); ++event) {
    const std::optional<stamp::Id> id = page.serving->id_of((*event)->item);
    if (!id) continue;
    if (event >= begin) page.session.push_back(*id);
    if (std::ranges::find(config_.visits.bought_types, (*event)->type) != config_.visits.bought_types.end())
      page.bought.push_back(*id);
  }
}

void Predictor::list(const std::shared_ptr<Page>& page) const {
  admission_.queue();
  page->is_queued = true;
  page->makings.resize(page->asked.size());
  std::shared_ptr<Serving> candidate;
  if (shadow_ && page->level == Admission::Level::full) candidate = shadow_->candidate_for(page->request_id);
  // The last list to be answered ends the page, perhaps before this returns.
  for (std::size_t i = 0; i < page->asked.size(); ++i) {
    const Prediction& asked = page->asked[i];
    Predicted& answer = page->answers[i];
    Making& making = page->makings[i];
    making.assignment = experiments_.assign(asked.visitor, asked.zone);
    if (!can_be(making.assignment, *page->serving)) making.assignment = {};
    const ArmOptions* arm = making.assignment.arm;
    making.serving = making.assignment.serving ? making.assignment.serving : page->serving;
    answer.release = making.serving->name;
    if (arm) {
      answer.experiment = making.assignment.experiment->name;
      answer.arm = arm->name;
    }
    const std::string& wanted = arm && !arm->zone.empty() ? arm->zone : asked.zone;
    const std::string zone = making.serving->rules_of(wanted);
    if (!zone.empty() && !making.serving->has_zone(zone)) {
      answer.error = std::make_exception_ptr(
          Error(404, "zone: there is no \"" + zone + "\"; there are " + joined(making.serving->zones)));
      finish(page);
      continue;
    }
    stamp::Request request{.events = asked.events ? *asked.events : page->session,
                           .bought = asked.bought,
                           .exclude = asked.exclude,
                           .only = asked.only,
                           .k = asked.k,
                           .history = asked.history,
                           .zone = zone,
                           .rules = asked.rules,
                           .value = asked.value,
                           .tail = asked.tail,
                           .objective = asked.objective,
                           .explain = asked.explain};
    request.bought.insert(request.bought.end(), page->bought.begin(), page->bought.end());
    // A page that was written as an event and then asked about is one look, not two.
    const bool is_written = !asked.events && !asked.current.empty() && !request.events.empty() &&
                            request.events.back() == asked.current.back();
    if (!is_written) request.events.insert(request.events.end(), asked.current.begin(), asked.current.end());
    if (candidate && answer.degraded.empty() && making.serving == page->serving && !asked.validate_only)
      making.shadowed = {request, wanted, making.serving, candidate};
    if (page->level != Admission::Level::full) {
      request.diversify = false;
      answer.degraded.push_back("diversity");
      if (std::exchange(request.explain, false)) answer.degraded.push_back("explanation");
    } else if (arm && arm->explore > 0 && !asked.explain) {  // an explanation is of the order that rules left
      making.explored_k =
          static_cast<int>(asked.k > 0 ? asked.k : making.serving->recommender.release()->list_size(zone));
      request.k = std::max(making.explored_k, arm->explore_among);
    }
    if (page->level == Admission::Level::popular && !(request.events.empty() && asked.visitor.empty())) {
      request.events.clear();
      answer.degraded.push_back("model");
    }
    if (!asked.strict && (!asked.rules.empty() || asked.only)) {
      making.without_own_rules = request;
      making.without_own_rules->rules.clear();
      making.without_own_rules->only.reset();
    }
    releases_.remember(request);
    submit(page, i, std::move(request));
  }
}

void Predictor::submit(const std::shared_ptr<Page>& page, std::size_t i, stamp::Request request) const {
  try {
    page->makings[i].serving->recommender.submit(
        std::move(request),
        [this, page, i](stamp::Answer<stamp::Recommendation> list) {
          thread_local const bool stepped_back = (step_back(), true);  // the library's thread, which stays
          static_cast<void>(stepped_back);
          answer(page, i, std::move(list));
        },
        page->deadline);
  } catch (...) {
    page->answers[i].error = std::current_exception();
    finish(page);
  }
}

void Predictor::answer(const std::shared_ptr<Page>& page, std::size_t i,
                       stamp::Answer<stamp::Recommendation> list) const {
  const Prediction& asked = page->asked[i];
  Predicted& answer = page->answers[i];
  if (!list) {
    answer.error = list.error();
    return finish(page);
  }
  answer.list = std::move(list).get();
  if (Making& making = page->makings[i]; answer.list.items.empty() && making.without_own_rules) {
    if (making.shadowed) making.shadowed->request = *making.without_own_rules;
    return submit(page, i, *std::exchange(making.without_own_rules, std::nullopt));
  }
  by_path_[static_cast<std::size_t>(answer.list.path)]->add();
  std::string candidates;
  if (page->makings[i].explored_k > 0) candidates = explored(*page, i);
  answer.token = tokens_.token({.release = answer.release,
                                .zone = asked.zone,
                                .arm = answer.arm,
                                .request = page->request_id,
                                .time = now_ms()});
  if (!answer.arm.empty() && !asked.validate_only) expose(*page, i, std::move(candidates));
  if (asked.validate_only) answer.list.items.clear();
  finish(page);
}

// Shows the list in another order; what the log says of it.
std::string Predictor::explored(Page& page, std::size_t i) const {
  stamp::Recommendation& list = page.answers[i].list;
  const Making& making = page.makings[i];
  const ArmOptions& arm = *making.assignment.arm;
  const Explored drawn =
      explore(list.scores, making.explored_k, arm.explore,
              std::hash<std::string>()(page.request_id + '\0' + page.asked[i].visitor + '\0' + page.asked[i].zone));
  std::string out;
  {
    JsonObject exploration(out);
    exploration.add("strength", arm.explore);
    {
      JsonArray candidates(exploration.at("candidates"));
      for (const stamp::Id& id : list.items) candidates.add(stamp::to_string(id));
    }
    {
      JsonArray scores(exploration.at("scores"));
      for (const float score : list.scores) scores.add(score);
    }
    JsonArray propensities(exploration.at("propensities"));
    for (const double propensity : drawn.propensities) propensities.add(propensity);
  }
  std::vector<stamp::Id> items;
  std::vector<float> scores;
  for (const int place : drawn.order) {
    items.push_back(std::move(list.items[place]));
    scores.push_back(list.scores[place]);
  }
  list.items = std::move(items);
  list.scores = std::move(scores);
  return out;
}

// A line of the log: who was shown what, and why.
void Predictor::expose(const Page& page, std::size_t i, std::string candidates) const {
  const Prediction& asked = page.asked[i];
  const Predicted& answer = page.answers[i];
  exposed_.at(page.makings[i].assignment.arm)->add();
  if (!exposures_ || bucket_of("exposures", asked.visitor) >= config_.exposures.share) return;
  std::string line;
  {
    JsonObject exposure(line);
    exposure.add("time", format_time(now_ms()));
    exposure.add("request", page.request_id);
    exposure.add("visitor", secret_.hex("visitor", asked.visitor));
    exposure.add("zone", asked.zone);
    exposure.add("experiment", answer.experiment);
    exposure.add("arm", answer.arm);
    exposure.add("release", answer.release);
    exposure.add("path", stamp::to_string(answer.list.path));
    {
      JsonArray items(exposure.at("items"));
      for (const stamp::Id& id : answer.list.items) items.add(stamp::to_string(id));
    }
    if (!candidates.empty()) exposure.at("exploration") += candidates;
  }
  exposures_->add(std::move(line));
}

void Predictor::finish(const std::shared_ptr<Page>& page) const {
  if (page->left.fetch_sub(1) > 1) return;
  page->leave();
  list_time_.observe(Clock::now() - page->began);
  for (std::size_t i = 0; i < page->makings.size(); ++i)
    if (page->answers[i].error) page->makings[i].shadowed.reset();
  page->done(page->asked, std::move(page->answers));
  for (Making& making : page->makings)  // callers have their answers
    if (making.shadowed) shadow_->offer(*std::move(making.shadowed));
}

}  // namespace server
