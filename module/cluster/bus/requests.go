package bus

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// MaxRequest is how many bytes the body of a request may have: some systems take messages of a
	// million bytes only.
	MaxRequest = 900_000

	// MaxAnswer is how many bytes one node's answer may have: half of what may wait for the broker by
	// default. Answers larger than answerPart are cut into parts.
	MaxAnswer  = 8 << 20
	answerPart = 512 << 10

	// maxAnswers is how many bytes of answers all requests of this node together hold.
	maxAnswers = 256 << 20

	// maxRequests is how many requests of this node wait for answers at a time, and maxServed how
	// many of other nodes are being answered.
	maxRequests = 1024
	maxServed   = 1024

	// defaultTimeout is how long a request without a deadline waits, and maxTimeout how long other
	// nodes work on one at most.
	defaultTimeout = 5 * time.Second
	maxTimeout     = 5 * time.Minute
)

// Errors of Request. In each case nobody has got the request.
var (
	ErrTooLarge        = errors.New("request is too large")
	ErrTooManyRequests = errors.New("too many requests wait for answers")
)

// A Request is what another node asks.
type Request struct {
	Node string // which asks
	Kind string
	Body []byte // must not be modified
}

// An AnswerFunc answers a request of another node, on a goroutine of its own. Ctx ends when the
// other node does not wait any more, or the bus is being closed. The answer has MaxAnswer bytes at
// most. With an error, the other node counts this one among the missing, and logs the error.
type AnswerFunc func(ctx context.Context, r Request) (answer []byte, err error)

// Answers are the outcome of a request. Each node that was asked is in one of them, except those
// that have left meanwhile.
type Answers struct {
	// Nodes are the answers, by the names of the nodes.
	Nodes map[string][]byte

	// Missing are the names of the nodes that have not answered, sorted: they were too slow or were
	// lost, their answer was lost, or they could not answer. They may have done what was asked.
	Missing []string
}

// Answer has requests of a kind answered by a function. It replaces the function that the kind had.
// Kinds are ASCII and have 64 bytes at most.
func (b *Bus) Answer(kind string, answer AnswerFunc) {
	b.requests.mu.Lock()
	defer b.requests.mu.Unlock()
	b.requests.answers[kind] = answer
}

// Request asks other nodes, and returns when each of them has answered, has left or is lost, or
// when ctx ends. Without names it asks all members that live when it begins. Names of nodes that do
// not live are missing, and this node's own name is left out: it is never asked. Without a deadline
// ctx counts as one of 5 seconds. Requests reach a node in the order in which they were begun, in
// relation to what was published to All before as well.
//
// One silent node never fails the rest: it is among the missing. So are those that the request was
// not sent to, since too much waits for the broker. The error is ErrTooLarge or ErrTooManyRequests.
func (b *Bus) Request(ctx context.Context, kind string, body []byte, to ...string) (Answers, error) {
	if len(body) > MaxRequest {
		return Answers{}, ErrTooLarge
	}
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	p, err := b.requests.begin(b.members.list(), b.node, to)
	if err != nil {
		return Answers{}, err
	}
	defer b.requests.end(p)
	deadline, _ := ctx.Deadline()
	h := header{Version: b.Version(), Kind: kind, Request: p.id, Timeout: max(1, time.Until(deadline).Milliseconds())}
	if err := b.send(&h, body, p.asked, len(to) == 0); err != nil {
		return b.requests.result(p), nil
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
	return b.requests.result(p), nil
}

// send queues a request to nodes, which may be all there are.
func (b *Bus) send(h *header, body []byte, nodes []string, all bool) (err error) {
	if all && len(nodes) > 0 {
		return b.add(All, *h, body, false)
	}
	for _, node := range nodes {
		err = errors.Join(err, b.add(NodeTopic(node), *h, body, false))
	}
	return err
}

func withDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// requests are those of this node that wait for answers, and those of others that are answered.
type requests struct {
	mu      sync.Mutex
	prefix  string // of the ids: answers to a former process are not taken for this one's
	last    uint64
	pending map[string]*pendingRequest // by their ids
	bytes   int                        // of their answers
	answers map[string]AnswerFunc      // by their kinds
	served  int
}

// A pendingRequest waits for answers.
type pendingRequest struct {
	id      string
	asked   []string
	waiting map[string]*partialAnswer // the nodes that have not answered
	nodes   map[string][]byte
	missing []string
	bytes   int
	done    chan struct{} // closed when nobody is waited for
}

// A partialAnswer is what has come of one node's answer.
type partialAnswer struct {
	incarnation string
	parts       int
	body        []byte
}

func newRequests(prefix string) *requests {
	return &requests{prefix: prefix, pending: make(map[string]*pendingRequest), answers: make(map[string]AnswerFunc)}
}

// begin registers a request to members, or to those that are named.
func (r *requests) begin(living []Member, own string, named []string) (*pendingRequest, error) {
	p := &pendingRequest{waiting: make(map[string]*partialAnswer), nodes: make(map[string][]byte), done: make(chan struct{})}
	for _, m := range living {
		if len(named) == 0 || slices.Contains(named, m.Node) {
			p.asked = append(p.asked, m.Node)
			p.waiting[m.Node] = &partialAnswer{incarnation: m.Incarnation}
		}
	}
	for _, node := range named {
		if p.waiting[node] == nil && node != own && !slices.Contains(p.missing, node) {
			p.missing = append(p.missing, node)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) >= maxRequests {
		return nil, ErrTooManyRequests
	}
	r.last++
	p.id = r.prefix + strconv.FormatUint(r.last, 36)
	r.pending[p.id] = p
	p.check()
	return p, nil
}

func (r *requests) end(p *pendingRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, p.id)
	r.bytes -= p.bytes
	p.bytes = 0
}

// result returns the answers. Who has not answered yet is missing.
func (r *requests) result(p *pendingRequest) Answers {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := append(slices.Collect(maps.Keys(p.waiting)), p.missing...)
	slices.SortFunc(missing, strings.Compare)
	return Answers{Nodes: maps.Clone(p.nodes), Missing: missing}
}

// check closes done if nobody is waited for. The caller of this and of miss holds the mutex.
func (p *pendingRequest) check() {
	if len(p.waiting) == 0 {
		close(p.done)
	}
}

// miss records that a node does not answer.
func (p *pendingRequest) miss(node string) {
	delete(p.waiting, node)
	p.missing = append(p.missing, node)
	p.check()
}

// memberGone records that an incarnation of a node does not answer any more. If it has left, it is
// not missing: it has nothing left that an answer could tell of.
func (r *requests) memberGone(node, incarnation string, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pending {
		partial := p.waiting[node]
		switch {
		case partial == nil || partial.incarnation != incarnation:
		case left:
			delete(p.waiting, node)
			p.check()
		default:
			p.miss(node)
		}
	}
}

// receiveAnswer takes an answer of another node, or a part of one. Answers that nobody waits for are
// ignored. A part is missing if the broker has lost it: then the whole answer is.
func (r *requests) receiveAnswer(node string, h *header, body []byte) (refused string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pending[h.Request]
	if p == nil {
		return ""
	}
	partial := p.waiting[node]
	switch {
	case partial == nil:
		return ""
	case h.Error != "":
		p.miss(node)
		return h.Error
	case h.Part != partial.parts:
		p.miss(node)
		return "a part of its answer is missing"
	case len(partial.body)+len(body) > MaxAnswer, r.bytes+len(body) > maxAnswers:
		p.miss(node)
		return "the answers are too large"
	}
	partial.parts++
	partial.body = append(partial.body, body...)
	r.bytes += len(body)
	p.bytes += len(body)
	if !h.More {
		delete(p.waiting, node)
		p.nodes[node] = partial.body
		p.check()
	}
	return ""
}

// serve begins to answer a request of another node.
func (b *Bus) serve(node string, h *header, body []byte) {
	r := b.requests
	r.mu.Lock()
	answer := r.answers[h.Kind]
	busy := r.served >= maxServed
	if answer != nil && !busy {
		r.served++
	}
	r.mu.Unlock()
	switch {
	case answer == nil:
		b.unknown.Add(1)
		b.refuse(node, h, "it does not know the request "+h.Kind)
		return
	case busy:
		b.refuse(node, h, "it has too many requests to answer")
		return
	}
	timeout := defaultTimeout
	if h.Timeout > 0 {
		timeout = time.Duration(min(h.Timeout, maxTimeout.Milliseconds())) * time.Millisecond
	}
	b.running.Go(func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.served--
		}()
		ctx, cancel := context.WithTimeout(b.ctx, timeout)
		defer cancel()
		result, err := answer(ctx, Request{Node: node, Kind: h.Kind, Body: body})
		switch {
		case err != nil:
			b.refuse(node, h, err.Error())
		case len(result) > MaxAnswer:
			b.refuse(node, h, "its answer is too large")
		default:
			b.answer(node, h, result)
		}
	})
}

// answer sends an answer, in parts if it is large. If a part does not fit into the queue, the rest is
// not sent either: the other node finds that it is missing.
func (b *Bus) answer(node string, request *header, result []byte) {
	h := header{Version: b.Version(), Kind: kindAnswer, Request: request.Request}
	for {
		part := result[:min(len(result), answerPart)]
		result = result[len(part):]
		h.More = len(result) > 0
		if b.add(NodeTopic(node), h, part, false) != nil || !h.More {
			return
		}
		h.Part++
	}
}

// refuse sends an answer that says why there is none.
func (b *Bus) refuse(node string, request *header, why string) {
	h := header{Version: b.Version(), Kind: kindAnswer, Request: request.Request, Error: why[:min(len(why), maxHeader/8)]}
	_ = b.add(NodeTopic(node), h, nil, false)
}

// logRefusal logs why a node has not answered.
func (b *Bus) logRefusal(node, why string) {
	if why != "" {
		b.logger.Warn("node does not answer a request", zap.String("node", node), zap.String("why", why))
	}
}
