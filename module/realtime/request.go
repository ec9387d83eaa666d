package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// ErrTooManySockets means that a request would go to more sockets than its caller allows.
var ErrTooManySockets = errors.New("event is for too many sockets")

// answersMargin is how much longer than clients' acks the answers of other nodes are awaited.
const answersMargin = 2 * time.Second

// maxWait is how long another node can have this one wait for acks.
const maxWait = 10 * time.Minute

// An Answer is one client's ack of an event that went to many.
type Answer struct {
	Socket string // its id; "" if it is on a server of a Bridge, which does not tell
	Args   []Arg
}

// Answers are the acks of an event that went to many.
type Answers struct {
	Answers []Answer // those of each node in the order in which they came

	// Missing are the ids of the sockets whose clients did not answer: they disconnected, were
	// awaited for too many other acks, or their answer was too large. All answers together have at
	// most 16 MiB, and those of another node 8 MiB.
	Missing []string

	MissingNodes []string // the names of nodes whose sockets may have got the event, and may have answered
}

// Request sends the event to at most maxSockets sockets and waits until each of their clients has
// acked it, for so long at most, or until ctx ends. Each node collects the acks of its own clients. A
// node that does not answer in time is named, and delays Request by two seconds at most.
//
// Clients that come back later do not get the event. If there are more than maxSockets, nobody gets
// it and the error is ErrTooManySockets. On a sealed hub it is ErrSealed. Any other error means that
// the event is not valid. Like Socket.Request, it must not be called from a Handler's method.
func (b Broadcast) Request(ctx context.Context, wait time.Duration, maxSockets int, event string, args ...Arg) (Answers, error) {
	b.namespace = b.namespace.current()
	m, err := b.namespace.newMessage(event, args)
	switch {
	case err != nil:
		return Answers{}, err
	case b.namespace.sealed.Load():
		return Answers{}, ErrSealed
	}
	m.Volatile = b.volatile
	nodes := Nodes{b.namespace.hub, b.local}
	op := &ackRequest{Wait: wait, MaxSockets: maxSockets, own: b, message: m}
	if !nodes.alone() {
		op.Event = newRemoteBroadcast(m, &b.to)
		count := *op
		count.CountOnly = true
		counted, _, err := perform(ctx, nodes, operationTimeout, &count)
		switch {
		case err != nil:
			return Answers{}, err
		case counted.Sockets > maxSockets:
			return Answers{}, ErrTooManySockets
		}
	}
	result, missing, err := perform(ctx, nodes, wait+answersMargin, op)
	if err != nil {
		return Answers{}, err
	}
	answers := Answers{Missing: result.Missing, MissingNodes: missing}
	for _, a := range result.Answers {
		answers.Answers = append(answers.Answers, Answer(a))
	}
	return answers, nil
}

// An ackRequest sends an event to sockets and collects their clients' acks.
type ackRequest struct {
	Event      remoteBroadcast `json:"event"`
	Wait       time.Duration   `json:"wait"` // nanoseconds
	MaxSockets int             `json:"max_sockets"`

	// CountOnly sends nothing, and tells how many sockets would get the event.
	CountOnly bool `json:"count_only,omitempty"`

	own     Broadcast // the event on the node that asks; without a namespace elsewhere
	message *Message
}

// An ackResult has the acks of clients, or how many sockets there are.
type ackResult struct {
	Answers []remoteAnswer `json:"answers,omitempty"`
	Missing []string       `json:"missing,omitempty"`
	Sockets int            `json:"sockets,omitempty"`
}

// A remoteAnswer is an Answer in the form in which nodes send it to one another.
type remoteAnswer Answer

// MarshalJSON implements json.Marshaler.
func (a remoteAnswer) MarshalJSON() ([]byte, error) {
	args, attachments := newRemoteArgs(a.Args)
	return json.Marshal(answerJSON{a.Socket, args, attachments})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *remoteAnswer) UnmarshalJSON(data []byte) (err error) {
	var read answerJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	a.Socket = read.Socket
	if a.Args, err = argsOf(read.Args, read.Attachments); err != nil {
		return err
	}
	return checkAttachments(a.Args)
}

type answerJSON struct {
	Socket      string      `json:"socket"`
	Args        []remoteArg `json:"args"`
	Attachments Attachments `json:"attachments,omitempty"`
}

// shorten implements shortener.
func (r *ackResult) shorten() bool {
	if len(r.Answers) == 0 {
		return false
	}
	keep := len(r.Answers) / 2
	for _, a := range r.Answers[keep:] {
		r.Missing = append(r.Missing, a.Socket)
	}
	r.Answers = r.Answers[:keep]
	return true
}

func (*ackRequest) kind() string { return kindRequest }

func (r *ackRequest) check() error {
	switch {
	case r.Event.Namespace == "":
		return errNoNamespace
	case r.Wait < 0 || r.Wait > maxWait:
		return errors.New("it waits for too long")
	case r.MaxSockets < 0 || r.MaxSockets > maxNames:
		return errors.New("it is for too many sockets")
	}
	return nil
}

func (r *ackRequest) run(ctx context.Context, h *Hub) (ackResult, error) {
	b, m := r.own, r.message
	if b.namespace == nil {
		n := h.find(r.Event.Namespace)
		if n == nil {
			return ackResult{}, nil // it has no sockets here
		}
		var err error
		if m, err = r.Event.message(n.newMessage); err != nil {
			return ackResult{}, err
		}
		b = Broadcast{namespace: n, to: r.Event.target()}
	}
	if r.CountOnly {
		return ackResult{Sockets: len(b.chooseRecipients(nil, m, nil))}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	answers, missing, err := b.collectAcks(ctx, m, r.MaxSockets)
	result := ackResult{Missing: missing, Answers: make([]remoteAnswer, len(answers))}
	for i, a := range answers {
		result.Answers[i] = remoteAnswer(a)
	}
	return result, err
}

func (r *ackRequest) bridged(ctx context.Context, b Bridge) (result ackResult, complete bool) {
	to := &r.own.to
	if !bridges(b, r.message.Namespace, to) {
		return result, true
	}
	if r.CountOnly {
		sockets, complete := b.Sockets(ctx, r.message.Namespace, to.rooms, to.except)
		result.Sockets = len(sockets)
		return result, complete
	}
	ctx, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	answers, complete := b.Request(ctx, r.message, to.rooms, to.except)
	for _, a := range answers[:min(len(answers), r.MaxSockets)] {
		result.Answers = append(result.Answers, remoteAnswer(a))
	}
	return result, complete
}

func (r *ackRequest) checkResult(result *ackResult) error {
	if result.Sockets < 0 || len(result.Answers)+len(result.Missing) > r.MaxSockets {
		return errors.New("it has too many answers")
	}
	return nil
}

func (*ackRequest) merge(results []ackResult) (all ackResult) {
	if len(results) == 1 {
		return results[0]
	}
	size := 0
	for _, r := range results {
		all.Sockets += r.Sockets
		all.Missing = append(all.Missing, r.Missing...)
		for _, a := range r.Answers {
			more := answerSize + sizeOf(a.Args)
			if size+more > maxAnswers {
				all.Missing = append(all.Missing, a.Socket)
				continue
			}
			size += more
			all.Answers = append(all.Answers, a)
		}
	}
	return all
}
