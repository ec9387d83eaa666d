package publish

import (
	"container/list"
	"crypto/sha256"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// How many answers are kept for requests that come again, how many bytes of
// them, and for how long. The oldest are forgotten first.
const (
	MaxAnswers     = 10_000
	MaxAnswerBytes = 32 << 20
	AnswerLifetime = time.Hour
	maxKey         = 255 // characters of an Idempotency-Key
)

// Answers are what has been answered to requests with an Idempotency-Key: such a
// request may come again, as often as its sender likes, and is done once. The
// zero value has none. All methods may be called concurrently.
type Answers struct {
	mu    sync.Mutex
	byKey map[string]*answer
	done  list.List // of *answer, the oldest first
	bytes int       // of what is in done
}

// An answer is one that has been given, or is about to be.
type answer struct {
	key     string
	request [sha256.Size]byte // what it is the answer to
	status  int               // 0 while the request is in flight
	body    []byte
	at      time.Time
}

// answerSize is about what an answer takes beside its key and body.
const answerSize = 256

func (a *answer) size() int { return answerSize + len(a.key) + len(a.body) }

func validKey(key string) bool { return key != "" && len(key) <= maxKey && printable(key) }

// fingerprint tells requests apart.
func fingerprint(u *url.URL, body []byte) [sha256.Size]byte {
	hash := sha256.New()
	hash.Write([]byte(u.RequestURI()))
	hash.Write([]byte{'\n'}) // which no URI has
	hash.Write(body)
	return [sha256.Size]byte(hash.Sum(nil))
}

// once has a request done, or returns what was answered when it was.
func (a *Answers) once(key string, request [sha256.Size]byte, do func() (status int, body []byte)) (status int, body []byte) {
	mine, before, problem := a.begin(key, request)
	switch {
	case problem != nil:
		return problem.Status, problem.body()
	case before != nil:
		return before.status, before.body
	}
	defer func() { a.finish(mine, status, body) }() // also if it panics
	return do()
}

// begin enters a request. Exactly one of the results is not nil.
func (a *Answers) begin(key string, request [sha256.Size]byte) (mine, before *answer, problem *Problem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prune()
	before = a.byKey[key]
	switch {
	case before == nil:
		mine = &answer{key: key, request: request}
		if a.byKey == nil {
			a.byKey = make(map[string]*answer)
		}
		a.byKey[key] = mine
		return mine, nil, nil
	case before.request != request:
		return nil, nil, problemf(http.StatusUnprocessableEntity, "idempotency_mismatch", "the Idempotency-Key is that of another request")
	case before.status == 0:
		return nil, nil, problemf(http.StatusConflict, "idempotency_in_flight", "the request is being done; ask again later")
	}
	return nil, before, nil
}

// finish keeps an answer. One that says that the server has failed is not kept:
// the next attempt may fare better.
func (a *Answers) finish(mine *answer, status int, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if status == 0 || status >= http.StatusInternalServerError {
		delete(a.byKey, mine.key)
		return
	}
	mine.status, mine.body, mine.at = status, body, time.Now()
	a.done.PushBack(mine)
	a.bytes += mine.size()
	a.prune()
}

// prune forgets what is too old or too much; but not the newest answer, which
// is large only if the answers of clients are.
func (a *Answers) prune() {
	for oldest := a.done.Front(); oldest != nil; oldest = a.done.Front() {
		o := oldest.Value.(*answer)
		tooMuch := a.done.Len() > MaxAnswers || a.bytes > MaxAnswerBytes && a.done.Len() > 1
		if !tooMuch && time.Since(o.at) < AnswerLifetime {
			return
		}
		a.done.Remove(oldest)
		a.bytes -= o.size()
		delete(a.byKey, o.key)
	}
	if len(a.byKey) == 0 {
		a.byKey = nil // a map does not shrink
	}
}
