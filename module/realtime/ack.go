package realtime

import "context"

// Request sends an event to the socket's client and waits for its ack. The error is ctx's,
// ErrDisconnected, or a *LimitError if too many acks of the client are awaited. Any other error
// means that the event is not valid. Request must not be called from a Handler's method for the
// same client: nothing is read from the client meanwhile, its ack included.
func (s *Socket) Request(ctx context.Context, event string, args ...Arg) ([]Arg, error) {
	type answer struct {
		args []Arg
		err  error
	}
	answers := make(chan answer, 1)
	m, err := s.namespace.newMessage(event, args)
	if err != nil {
		return nil, err
	}
	m.Ack = s.namespace.acks.Add(1)
	if err := s.expectAck(m.Ack, func(args []Arg, err error) { answers <- answer{args, err} }); err != nil {
		return nil, err
	}
	defer func() { s.forgetAck(m.Ack) }()
	if err := s.conn.Deliver(m, nil); err != nil {
		return nil, err
	}
	select {
	case a := <-answers:
		return a.args, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// HandleAck takes an ack that the client has sent from the socket's protocol. It ignores one that
// nobody waits for.
func (s *Socket) HandleAck(number uint64, args []Arg) {
	if answer := s.forgetAck(number); answer != nil {
		answer(args, nil)
	}
}

func (s *Socket) expectAck(number uint64, answer func([]Arg, error)) error {
	limit := s.endpoint.Limits().Acks
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return ErrDisconnected
	case len(s.acks) >= limit:
		return &LimitError{Name: "acks", Max: int64(limit)}
	}
	if s.acks == nil {
		s.acks = make(map[uint64]func([]Arg, error))
	}
	s.acks[number] = answer
	return nil
}

func (s *Socket) forgetAck(number uint64) (answer func([]Arg, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer = s.acks[number]
	delete(s.acks, number)
	if len(s.acks) == 0 {
		s.acks = nil
	}
	return answer
}

func (s *Socket) awaitsAcks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acks) > 0
}

// failAcks fails all acks that are awaited.
func (s *Socket) failAcks() {
	s.mu.Lock()
	acks := s.acks
	s.acks = nil
	s.mu.Unlock()
	for _, answer := range acks {
		answer(nil, ErrDisconnected)
	}
}
