package redisbroker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// maxPipeline is how many commands are sent before the answers are awaited.
const maxPipeline = 512

// errMoved means that a cluster has changed, so that this connection is to other servers than it
// should be.
var errMoved = errors.New("the cluster has moved channels to another server")

// A server is the connections to one server: one that publishes, and one with the subscriptions.
type server struct {
	client    rueidis.Client // publishes
	dedicated rueidis.DedicatedClient
	ended     <-chan struct{} // closed when the connection with the subscriptions has ended
	sharded   bool

	probed       chan string  // the last probe that came back
	probe        string       // the channel of probes
	probes       int          // how many were sent
	unsubscribed atomic.Int64 // how many channels are being unsubscribed
	closing      atomic.Bool
}

// newServer takes over a client. Receive gets the messages of channels, but for probe, which only
// this connection is subscribed to.
func newServer(ctx context.Context, client rueidis.Client, sharded bool, probe string, receive func(channel, message string), lost func(error)) (*server, error) {
	s := &server{client: client, sharded: sharded, probe: probe, probed: make(chan string, 1)}
	s.dedicated, _ = client.Dedicate()
	ended := s.dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) {
			if m.Channel == probe {
				select {
				case s.probed <- m.Message:
				default: // nobody waits for it any more
				}
				return
			}
			receive(m.Channel, m.Message)
		},
		OnSubscription: func(change rueidis.PubSubSubscription) {
			// A server ends subscriptions by itself when their channels are not its own any more.
			if change.Kind == "sunsubscribe" && s.unsubscribed.Add(-1) < 0 {
				lost(errMoved)
			}
		},
	})
	done := make(chan struct{})
	s.ended = done
	go func() {
		defer close(done)
		if err := <-ended; !s.closing.Load() {
			lost(err)
		}
	}()
	if err := s.subscribe(ctx, []string{probe}); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// publish sends frames in order, and returns when the server has taken them all.
func (s *server) publish(ctx context.Context, frames []ChannelMessage) error {
	for batch := range slices.Chunk(frames, maxPipeline) {
		commands := make(rueidis.Commands, 0, len(batch))
		for _, f := range batch {
			commands = append(commands, s.publishCommand(f.Channel, rueidis.BinaryString(f.Bytes)))
		}
		for _, answer := range s.client.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *server) publishCommand(channel, message string) rueidis.Completed {
	if s.sharded {
		return s.client.B().Spublish().Channel(channel).Message(message).Build()
	}
	return s.client.B().Publish().Channel(channel).Message(message).Build()
}

// subscribe returns when the server has confirmed all channels. It confirms each command once, so
// each channel has its own.
func (s *server) subscribe(ctx context.Context, channels []string) error {
	for batch := range slices.Chunk(channels, maxPipeline) {
		commands := make(rueidis.Commands, 0, len(batch))
		for _, channel := range batch {
			if s.sharded {
				commands = append(commands, s.dedicated.B().Ssubscribe().Channel(channel).Build())
			} else {
				commands = append(commands, s.dedicated.B().Subscribe().Channel(channel).Build())
			}
		}
		for _, answer := range s.dedicated.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
	}
	return nil
}

// subscribePattern is subscribe for all channels whose names match.
func (s *server) subscribePattern(ctx context.Context, pattern string) error {
	return s.dedicated.Do(ctx, s.dedicated.B().Psubscribe().Pattern(pattern).Build()).Error()
}

// uncount replaces subscriptions by those of patterns that match the same channels. Nothing is
// published in between.
func (s *server) uncount(ctx context.Context, channels []string) error {
	for _, answer := range s.dedicated.DoMulti(ctx,
		s.dedicated.B().Unsubscribe().Channel(channels...).Build(),
		s.dedicated.B().Psubscribe().Pattern(channels...).Build()) {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) unsubscribe(ctx context.Context, channels []string) error {
	for batch := range slices.Chunk(channels, maxPipeline) {
		command := s.dedicated.B().Unsubscribe().Channel(batch...).Build()
		if s.sharded {
			s.unsubscribed.Add(int64(len(batch)))
			command = s.dedicated.B().Sunsubscribe().Channel(batch...).Build()
		}
		if err := s.dedicated.Do(ctx, command).Error(); err != nil {
			return err
		}
	}
	return nil
}

// sendProbe publishes to the channel of probes, and returns when the message has come back.
func (s *server) sendProbe(ctx context.Context) error {
	s.probes++
	want := strconv.Itoa(s.probes)
	if err := s.client.Do(ctx, s.publishCommand(s.probe, want)).Error(); err != nil {
		return err
	}
	for {
		select {
		case got := <-s.probed:
			if got == want {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close closes both connections, and waits until no message is received any more.
func (s *server) close() {
	s.closing.Store(true)
	s.dedicated.Close()
	s.client.Close()
	<-s.ended
}
