package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

const (
	// operationTimeout is how long other nodes have for an operation that waits for nobody else.
	operationTimeout = 5 * time.Second

	// maxOperation is how many bytes an operation takes at most, and maxResult how many the result of
	// one node.
	maxOperation = 900_000
	maxResult    = 8 << 20
)

// ErrTooLarge means that what is asked of all nodes, such as a long list of names, takes more than
// 900,000 bytes. Nothing has been done.
var ErrTooLarge = errors.New("request to other nodes is too large")

// A requester asks the other nodes. The bus of a cluster is one. All methods may be called
// concurrently.
type requester interface {
	// peers returns how many other nodes are live.
	peers() int

	// request sends a request to all other nodes that are live. It returns when each has answered or
	// is gone, or ctx is done: the answers, by the names of the nodes, and the names of live nodes
	// that have not answered or have refused. An answer is shared, and must not be modified.
	request(ctx context.Context, kind string, body []byte) (answers map[string][]byte, missing []string)
}

// An operation is what each node does to its own sockets, or tells of them, when one node asks for
// it. R is the result of one node, or of several. An operation and its results travel as JSON.
type operation[R any] interface {
	// kind names the operation to other nodes.
	kind() string

	// bridged does the operation on the servers of the bridge. It is not complete if one of them has
	// perhaps not done it.
	bridged(ctx context.Context, b Bridge) (result R, complete bool)

	// check reports what is wrong with an operation that has come from another node.
	check() error

	// run does the operation on this node. An error means that this node has not done it.
	run(ctx context.Context, h *Hub) (R, error)

	// checkResult reports what is wrong with a result that has come from another node.
	checkResult(*R) error

	// merge returns the result of all nodes. There is at least one.
	merge([]R) R
}

// A shortener is a result that can leave out a part, and say that it has.
type shortener interface {
	// shorten leaves out about half. It reports false if nothing can be left out.
	shorten() bool
}

// perform has nodes do an operation, all at the same time. One that cannot, or does not within a
// time, is among the missing ones, which are sorted; the others do it all the same. The error is that
// of this node.
func perform[R any](ctx context.Context, nodes Nodes, timeout time.Duration, op operation[R]) (result R, missing []string, err error) {
	h := nodes.hub
	if !nodes.local {
		h.arrivals.wait(ctx)
	}
	if nodes.alone() {
		result, err = op.run(ctx, h)
		return result, nil, err
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	others, err := startElsewhere(wait, h, op)
	if err != nil {
		return result, nil, err
	}
	own, err := op.run(ctx, h)
	if err != nil {
		cancel()
	}
	results, missing := others()
	if err != nil {
		return result, nil, err
	}
	slices.Sort(missing)
	return op.merge(append([]R{own}, results...)), slices.Compact(missing), nil
}

// startElsewhere has the other nodes and the servers of the bridge do an operation. The function that
// it returns waits for their results. It must be called.
func startElsewhere[R any](ctx context.Context, h *Hub, op operation[R]) (wait func() (results []R, missing []string), err error) {
	var running sync.WaitGroup
	var answers map[string][]byte
	var missing []string
	if h.peers() > 0 {
		var body bytes.Buffer
		if err := rawjson.Encode(&body, op); err != nil {
			return nil, fmt.Errorf("encoding operation: %w", err)
		}
		if body.Len() > maxOperation {
			return nil, ErrTooLarge
		}
		running.Go(func() { answers, missing = h.others.request(ctx, op.kind(), body.Bytes()) })
	}
	var bridged R
	complete := true
	b := h.bridged()
	if b != nil {
		running.Go(func() { bridged, complete = op.bridged(ctx, b) })
	}
	return func() (results []R, all []string) {
		running.Wait()
		for _, node := range slices.Sorted(maps.Keys(answers)) {
			r, err := decodeResult(op, answers[node])
			if err != nil {
				h.limited.Warn("another node's answer is not valid", zap.String("node", node), zap.String("kind", op.kind()), zap.Error(err))
				missing = append(missing, node)
				continue
			}
			results = append(results, r)
		}
		if b != nil {
			results = append(results, bridged)
		}
		if !complete {
			missing = append(missing, b.Name())
		}
		return results, missing
	}, nil
}

var errNotUTF8 = errors.New("it is not UTF-8")

func decodeResult[R any](op operation[R], answer []byte) (result R, err error) {
	switch {
	case len(answer) > maxResult:
		return result, errors.New("it is too large")
	case !utf8.Valid(answer): // arguments of clients' acks go on to those that ask as text
		return result, errNotUTF8
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, err
	}
	return result, op.checkResult(&result)
}

// The kinds of operations.
const (
	kindFetch    = "fetch"
	kindChange   = "change"
	kindRooms    = "rooms"
	kindPresence = "presence"
	kindStats    = "stats"
	kindRequest  = "request"
)

// remoteOperations do what other nodes ask for, by the kinds of operations.
var remoteOperations = map[string]func(ctx context.Context, h *Hub, body []byte) ([]byte, error){
	kindFetch:    performRemote[listing[SocketInfo], fetch],
	kindChange:   performRemote[changeResult, change],
	kindRooms:    performRemote[listing[RoomInfo], roomList],
	kindPresence: performRemote[presencePart, presence],
	kindStats:    performRemote[statsResult, stats],
	kindRequest:  performRemote[ackResult, ackRequest],
}

// performRemote does an operation that another node has asked for, and returns its result. The error
// says why it has not been done.
func performRemote[R any, O any, P interface {
	*O
	operation[R]
}](ctx context.Context, h *Hub, body []byte) ([]byte, error) {
	op := P(new(O))
	if err := decodeOperation(body, op); err != nil {
		return nil, err
	}
	if err := op.check(); err != nil {
		return nil, err
	}
	h.arrivals.wait(ctx)
	result, err := op.run(ctx, h)
	if err != nil {
		return nil, err
	}
	return encodeResult(&result)
}

// answer does what another node asks for, and returns its answer. The error says why it has not been
// done. It may block until ctx is done. Brokers are not trusted: a body that is not valid does
// nothing.
func (h *Hub) answer(ctx context.Context, kind string, body []byte) (result []byte, err error) {
	do, ok := remoteOperations[kind]
	if !ok {
		return nil, fmt.Errorf("operation %.32q is not known", kind)
	}
	return do(ctx, h, body)
}

// decodeOperation reads an operation. Members that are not known are an error: a newer node may mean
// a condition by them, without which the operation would be about more sockets.
func decodeOperation(body []byte, op any) error {
	switch {
	case len(body) > maxOperation:
		return errors.New("operation is too large")
	case !utf8.Valid(body):
		return errNotUTF8
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(op); err != nil {
		return fmt.Errorf("reading operation: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the operation")
	}
	return nil
}

// encodeResult returns a result, or the beginning of one that is too large.
func encodeResult(result any) ([]byte, error) {
	for {
		var b bytes.Buffer
		if err := rawjson.Encode(&b, result); err != nil {
			return nil, fmt.Errorf("encoding result: %w", err)
		}
		if b.Len() <= maxResult {
			return b.Bytes(), nil
		}
		if s, ok := result.(shortener); !ok || !s.shorten() {
			return nil, errors.New("result is too large")
		}
	}
}
