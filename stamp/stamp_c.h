/* libstamp for C, and for every language that calls C: load a bundle, recommend, reload, free.
 *
 * Functions that can fail return STAMP_OK, STAMP_INVALID (the caller's input cannot be) or STAMP_FAILED (a file, a device
 * or memory); stamp_last_error() then says why, for the thread that called. No exception crosses this interface.
 *
 * Thread-safety: everything may be called from any thread at once, on one recommender too, reload included. Freeing is
 * the exception: nothing else may be using what is freed. Answers belong to whoever asked.
 *
 * Stability: structures begin with their size, which callers set to sizeof; later versions append fields, which old
 * callers' sizes leave out, and that are then 0. Functions are added, never changed, within a SOVERSION.
 */
#ifndef STAMP_C_H
#define STAMP_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define STAMP_C_API __attribute__((visibility("default")))
#else
#define STAMP_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The last two are only ever an answer's: its deadline passed before its turn came; it was cancelled. */
typedef enum { STAMP_OK = 0, STAMP_INVALID = 1, STAMP_FAILED = 2, STAMP_LATE = 3, STAMP_CANCELLED = 4 } stamp_status;

typedef struct stamp_recommender stamp_recommender;
typedef struct stamp_answer stamp_answer;
typedef struct stamp_ticket stamp_ticket;

/* A product's id: UTF-8 text that ends in 0, or where `text` is NULL the number. A request's ids are of the kind that the
 * bundle's are; one of the other is STAMP_INVALID, one that the bundle does not know is no error. */
typedef struct {
  const char* text;
  int64_t number;
} stamp_id;

typedef struct {
  size_t size;            /* sizeof(stamp_options) */
  const char* device;     /* "cpu", "cuda", "cuda:1", "auto"; NULL: auto */
  const char* precision;  /* "fp32", "tf32", "bf16", "auto"; NULL: auto */
  int lazy;               /* not 0: load a cluster's model when it is first asked for */
  int64_t memory;         /* bytes of models to hold at once; 0: no bound */
  int64_t window;         /* ignored: requests share scans without waiting */
} stamp_options;

typedef struct {
  size_t size;             /* sizeof(stamp_request) */
  const stamp_id* events;  /* in order of visits, the current product last */
  size_t n_events;
  const stamp_id* bought;  /* for the rule exclude_bought */
  size_t n_bought;
  const stamp_id* exclude; /* never to be listed */
  size_t n_exclude;
  const stamp_id* only;    /* to choose from; NULL: everything */
  size_t n_only;
  int64_t k;               /* products to list; 0: what the zone says, else 20 */
  int64_t history;         /* the last events that are read; 0: what the zone says, else all */
  const char* zone;        /* whose rules apply; NULL: none's */
  const char* rules;       /* JSON list of rules, besides the zone's; NULL: none */
  int explain;             /* not 0: say what rules removed and moved */
  int no_diversify;        /* not 0: rules that diversify are passed over, as a busy server may ask */
  const double* value;     /* 0 to 1: how much what products are worth counts; NULL: what the zone says, else 0 */
  const double* tail;      /* 0 to 1: how much their popularity counts against them; NULL likewise */
  const char* objective;   /* JSON, {"click": 0.7, "order": 0.3}: what to serve; NULL: what the zone says, else clicks */
} stamp_request;

/* "0.1.0": of the library that runs. */
STAMP_C_API const char* stamp_version(void);
/* Why the last call of this thread failed; "" before any did. Valid until its next call. */
STAMP_C_API const char* stamp_last_error(void);

/* Opens the bundle at `path`. options may be NULL. *recommender is NULL where it fails. */
STAMP_C_API stamp_status stamp_load(const char* path, const stamp_options* options, stamp_recommender** recommender);
/* Loads the bundle at `path` (NULL: where it came from), then answers from it; requests under way end in the old one. */
STAMP_C_API stamp_status stamp_reload(stamp_recommender* recommender, const char* path);
/* Sets a number attribute, "price" or "available" say, of n products, in force with the next request in every rule; NAN:
 * missing. All or none. A bundle that is loaded later has its own numbers again. unknown: how many of the products the
 * bundle does not know, which are left out; may be NULL. */
STAMP_C_API stamp_status stamp_set_numbers(stamp_recommender* recommender, const char* attribute, const stamp_id* products,
                                           const float* values, size_t n, size_t* unknown);
/* NULL is allowed. Requests that were submitted and whose turn has not come are cancelled; returns when every callback has
 * been called, and so not in one. */
STAMP_C_API void stamp_free(stamp_recommender* recommender);

/* One request, on the thread that calls. */
STAMP_C_API stamp_status stamp_recommend(const stamp_recommender* recommender, const stamp_request* request,
                                         stamp_answer** answer);
/* n requests at once, on all cores, into n answers. All or none: where it fails they are NULL. */
STAMP_C_API stamp_status stamp_recommend_many(const stamp_recommender* recommender, const stamp_request* requests,
                                              size_t n, stamp_answer** answers);
/* The same, each by itself: none of the n answers is NULL, and stamp_answer_status says what became of its request. Where
 * the call itself cannot be or fails they are NULL. */
STAMP_C_API stamp_status stamp_recommend_each(const stamp_recommender* recommender, const stamp_request* requests,
                                              size_t n, stamp_answer** answers);

/* Gets an answer, which is the callback's to free, whatever its status. */
typedef void (*stamp_callback)(stamp_answer* answer, void* context);
/* Answers by calling back, and blocks no thread meanwhile. Where it returns STAMP_OK the callback is called once, on a
 * thread of the library's, never on the caller's, though perhaps before this returns; there are as many as cores, and one
 * that is in a callback answers nobody. The request is read during this call alone. deadline: microseconds from now in
 * which its turn must come, 0: none; an answer whose turn came in time may come later. ticket: to cancel by, and to free
 * with stamp_ticket_free; NULL: none is wanted. In a child of fork() the requests of the parent are the parent's.
 * From a callback while stamp_free runs: STAMP_CANCELLED. */
STAMP_C_API stamp_status stamp_submit(const stamp_recommender* recommender, const stamp_request* request, int64_t deadline,
                                      stamp_callback callback, void* context, stamp_ticket** ticket);
/* 1: the callback has not been called yet, and will be with STAMP_CANCELLED; 0: it has been called, or is being. */
STAMP_C_API int stamp_cancel(const stamp_ticket* ticket);
/* At any time, also after stamp_free; the request goes its way. NULL is allowed. */
STAMP_C_API void stamp_ticket_free(stamp_ticket* ticket);

/* What an answer holds; valid until it is freed. One whose status is not STAMP_OK lists nothing. */
STAMP_C_API stamp_status stamp_answer_status(const stamp_answer* answer);
STAMP_C_API const char* stamp_answer_error(const stamp_answer* answer);        /* why, or "" */
STAMP_C_API size_t stamp_answer_size(const stamp_answer* answer);              /* products, best first */
STAMP_C_API const stamp_id* stamp_answer_ids(const stamp_answer* answer);      /* [size] */
STAMP_C_API const float* stamp_answer_scores(const stamp_answer* answer);      /* [size] */
STAMP_C_API const char* stamp_answer_path(const stamp_answer* answer);         /* "anchor", "group", ... */
STAMP_C_API int64_t stamp_answer_cluster(const stamp_answer* answer);          /* -1: no model answered */
STAMP_C_API size_t stamp_answer_unknown_size(const stamp_answer* answer);      /* events the catalog does not know */
STAMP_C_API const stamp_id* stamp_answer_unknown(const stamp_answer* answer);  /* [unknown_size] */
STAMP_C_API const char* stamp_answer_reason(const stamp_answer* answer);       /* why there are fewer than k, or "" */
STAMP_C_API const char* stamp_answer_explanation(const stamp_answer* answer);  /* JSON, or "" */
/* NULL is allowed. */
STAMP_C_API void stamp_answer_free(stamp_answer* answer);

#ifdef __cplusplus
}
#endif

#endif /* STAMP_C_H */
