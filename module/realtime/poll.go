package realtime

import (
	"context"
	"errors"
	"sync"
	"unsafe"
)

// ErrTooManySockets says that more sockets would have to be waited for than the
// caller wants to.
var ErrTooManySockets = errors.New("event is for too many sockets")

// maxAnswers is how many bytes the answers to one event can take together, and
// answerSize is about what one takes beside its arguments.
const (
	maxAnswers = 16 << 20
	answerSize = 2 * int(unsafe.Sizeof(Answer{}))
)

// An Answer is what one client acked an event with that went to many.
type Answer struct {
	Socket *Socket
	Args   []Arg
}

// Request sends the event and waits until every client that gets it has
// answered, or ctx ends. It returns the answers, in the order in which they
// came, and the sockets whose clients did not answer: those that disconnected
// meanwhile, those of which too many answers are awaited, and those whose answers
// would make more than 16 MiB together.
// Clients that come back to their sockets do not get what they missed of this.
//
// It knows the sockets of this node only: other nodes learn nothing of the
// event. Where it is for more than so many sockets, it goes to none, and the
// error is ErrTooManySockets, and ErrSealed like that of Emit; any other says that the
// event is not valid. Like Socket.Request, it must not be called from within a
// Handler's method.
func (b Broadcast) Request(ctx context.Context, sockets int, event string, args ...Arg) (answers []Answer, missing []*Socket, err error) {
	n := b.namespace.current()
	b.namespace = n
	m, err := n.newMessage(event, args)
	if err != nil {
		return nil, nil, err
	}
	m.Volatile = b.volatile
	m.Ack = n.acks.Add(1) // one number for all of them: it is encoded once
	p, err := b.ask(m, sockets)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	for _, s := range p.asked {
		s.forgetAck(m.Ack)
	}
	answers, missing = p.result()
	return answers, missing, nil
}

// ask sends the message to all of at most so many sockets.
func (b Broadcast) ask(m *Message, sockets int) (*poll, error) {
	defer b.namespace.order.lock(&b.to)()
	if b.namespace.sealed.Load() {
		return nil, ErrSealed
	}
	p := &poll{done: make(chan struct{}), asked: b.chooseRecipients(nil, m, nil)}
	if len(p.asked) > sockets {
		return nil, ErrTooManySockets
	}
	p.open = len(p.asked) + 1 // and this function
	for _, s := range p.asked {
		if s.expectAck(m.Ack, func(args []Arg, err error) { p.take(s, args, err) }) != nil {
			p.settle()
			continue
		}
		_ = s.conn.Deliver(m, nil) // a client that cannot get it is being disconnected
	}
	p.settle()
	return p, nil
}

// A poll collects what clients answer to one event.
type poll struct {
	asked []*Socket
	done  chan struct{} // closed when no answer is open

	mu      sync.Mutex
	open    int
	size    int // bytes of answers
	answers []Answer
}

func (p *poll) take(s *Socket, args []Arg, err error) {
	defer p.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	size := answerSize + sizeOf(args)
	if err != nil || p.size+size > maxAnswers {
		return
	}
	p.size += size
	p.answers = append(p.answers, Answer{s, compact(args)})
}

// settle notes that one answer is not open any more.
func (p *poll) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open--; p.open == 0 {
		close(p.done)
	}
}

func (p *poll) result() (answers []Answer, missing []*Socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answered := make(map[*Socket]struct{}, len(p.answers))
	for _, a := range p.answers {
		answered[a.Socket] = struct{}{}
	}
	for _, s := range p.asked {
		if _, ok := answered[s]; !ok {
			missing = append(missing, s)
		}
	}
	return p.answers[:len(p.answers):len(p.answers)], missing
}
