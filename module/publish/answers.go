package publish

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// How many answers are kept for requests that are repeated, how many bytes of them, and
// for how long. The oldest are dropped first.
const (
	MaxAnswers     = 10_000
	MaxAnswerBytes = 32 << 20
	AnswerLifetime = time.Hour
	maxKey         = 255 // characters of an Idempotency-Key
)

// Answers are the answers to requests with an Idempotency-Key. Such a request may be sent
// several times, and is done once. The zero value has none. All methods may be called
// concurrently.
type Answers struct {
	mu    sync.Mutex
	byKey map[digest]*answer
	done  []*answer // the oldest first
	bytes int       // of what is in done
}

// A digest is the beginning of a SHA-256. It stands for a key or a request, and takes
// less memory.
type digest [16]byte

// An answer is to a request that has been done, or is being done.
type answer struct {
	key     digest
	request digest // what it is the answer to
	status  int    // 0 while the request is in flight
	body    []byte
	at      time.Time
}

// answerSize is about what an answer takes beside its body.
const answerSize = 160

func (a *answer) size() int { return answerSize + len(a.body) }

func validKey(key string) bool { return key != "" && len(key) <= maxKey && printable(key) }

// fingerprint returns the digest of a request.
func fingerprint(u *url.URL, body []byte) digest {
	hash := sha256.New()
	hash.Write([]byte(u.RequestURI()))
	hash.Write([]byte{'\n'}) // which no URI has
	hash.Write(body)
	return digest(hash.Sum(nil))
}

// once does a request, or returns the answer of when it was done.
func (a *Answers) once(key string, request digest, do func() (status int, body []byte)) (status int, body []byte) {
	mine, before, problem := a.begin(key, request)
	switch {
	case problem != nil:
		return problem.Status, problem.body()
	case before != nil:
		return before.status, before.body
	}
	defer func() { a.finish(mine, status, body) }() // even after a panic
	return do()
}

// begin enters a request. Exactly one of the results is not nil.
func (a *Answers) begin(key string, request digest) (mine, before *answer, problem *Problem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prune()
	sum := sha256.Sum256([]byte(key))
	name := digest(sum[:])
	before = a.byKey[name]
	switch {
	case before == nil:
		mine = &answer{key: name, request: request}
		if a.byKey == nil {
			a.byKey = make(map[digest]*answer)
		}
		a.byKey[name] = mine
		return mine, nil, nil
	case before.request != request:
		return nil, nil, problemf(http.StatusUnprocessableEntity, "idempotency_mismatch", "the Idempotency-Key is that of another request")
	case before.status == 0:
		return nil, nil, problemf(http.StatusConflict, "idempotency_in_flight", "the request is being done; ask again later")
	}
	return nil, before, nil
}

// finish keeps an answer, unless the server has failed: then the next attempt may
// succeed.
func (a *Answers) finish(mine *answer, status int, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if status == 0 || status >= http.StatusInternalServerError {
		delete(a.byKey, mine.key)
		return
	}
	mine.status, mine.body, mine.at = status, bytes.Clone(body), time.Now() // a clone has no unused capacity
	a.done = append(a.done, mine)
	a.bytes += mine.size()
	a.prune()
}

// prune drops answers that are too old or too many. It keeps the newest one, which is
// large only if clients' answers are.
func (a *Answers) prune() {
	for len(a.done) > 0 {
		oldest := a.done[0]
		tooMuch := len(a.done) > MaxAnswers || a.bytes > MaxAnswerBytes && len(a.done) > 1
		if !tooMuch && time.Since(oldest.at) < AnswerLifetime {
			return
		}
		a.done[0] = nil
		a.done = a.done[1:]
		a.bytes -= oldest.size()
		delete(a.byKey, oldest.key)
	}
	a.done = nil
	if len(a.byKey) == 0 {
		a.byKey = nil // a map does not shrink
	}
}
