package clustertest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

var errFault = errors.New("fault")

// faults are mistakes that a broker may make, each with the check that must detect it.
var faults = []struct {
	check string
	name  string
	fault func(b *faulty)
}{
	{"delivery", "the publisher's own subscription gets nothing", func(b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			e.Node += fmt.Sprint("@", b.index)
			return publish(ctx, e)
		}
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				at := strings.LastIndexByte(e.Node, '@')
				if e.Node[at+1:] != strconv.Itoa(b.index) {
					e.Node = e.Node[:at]
					receive(e)
				}
			}
		})
	}},
	{"delivery", "brokers are not connected", func(b *faulty) {
		alone := membroker.New(membroker.Options{})
		b.publish, b.subscribe, b.close = alone.Publish, alone.Subscribe, alone.Close
	}},
	{"delivery", "the node is lost", changing(func(e *cluster.Envelope) { e.Node = "" })},
	{"delivery", "the topic is lost", changing(func(e *cluster.Envelope) { e.Topic = "" })},
	{"delivery", "payloads are text", changing(func(e *cluster.Envelope) { e.Payload = []byte(strings.ToValidUTF8(string(e.Payload), "\ufffd")) })},
	{"delivery", "payloads end at NUL", changing(func(e *cluster.Envelope) {
		before, _, _ := strings.Cut(string(e.Payload), "\x00")
		e.Payload = []byte(before)
	})},
	{"delivery", "gaps are forwarded", changing(func(e *cluster.Envelope) { e.Gap = string(e.Payload) == "no gap" })},
	{"delivery", "a topic without subscriptions is an error", func(b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if b.Broker.(*membroker.Broker).Listeners(e.Topic) == 0 {
				return errFault
			}
			return publish(ctx, e)
		}
	}},
	{"delivery", "a goroutine never ends", func(b *faulty) {
		go func() { <-b.over }()
	}},
	{"order", "two envelopes are swapped", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			var held []cluster.Envelope
			return func(e cluster.Envelope) {
				if held = append(held, e); len(held) == 2 {
					receive(held[1])
					receive(held[0])
					held = nil
				}
			}
		})
	}},
	{"order", "one is lost", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			n := 0
			return func(e cluster.Envelope) {
				if n++; n != 150 {
					receive(e)
				}
			}
		})
	}},
	{"order", "one comes twice, at the end", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			n := 0
			return func(e cluster.Envelope) {
				receive(e)
				if n++; n == 800 {
					receive(e)
				}
			}
		})
	}},
	{"order", "a goroutine for each envelope", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) { go receive(e) }
		})
	}},
	{"fan-out", "one subscription for each topic", func(b *faulty) {
		subscribe := b.subscribe
		var seen sync.Map
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			if _, again := seen.LoadOrStore(topic, true); again {
				return faultySubscription(func() error { return nil }), nil
			}
			return subscribe(ctx, topic, receive)
		}
	}},
	{"fan-out", "each subscription gets the envelopes of all others", func(b *faulty) {
		subscribe := b.subscribe
		var mu sync.Mutex
		var all []func(cluster.Envelope)
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			mu.Lock()
			all = append(all, receive)
			mu.Unlock()
			return subscribe(ctx, topic, func(e cluster.Envelope) {
				mu.Lock()
				defer mu.Unlock()
				for _, receive := range all {
					receive(e)
				}
			})
		}
	}},
	{"topics", "case does not matter", naming(strings.ToLower)},
	{"topics", "space does not matter", naming(strings.TrimSpace)},
	{"topics", "topics are UTF-8", naming(func(topic string) string { return strings.ToValidUTF8(topic, "?") })},
	{"topics", "topics end at NUL", naming(func(topic string) string {
		before, _, _ := strings.Cut(topic, "\x00")
		return before
	})},
	{"topics", "topics are paths", naming(path.Clean)},
	{"topics", "long topics are cut", naming(func(topic string) string { return topic[:min(len(topic), 1023)] })},
	{"topics", "a topic is a prefix", naming(func(topic string) string { return topic[:1] })},
	{"topics", "topics have separators", naming(func(topic string) string { return strings.NewReplacer("/", ".", ":", ".").Replace(topic) })},
	{"topics", "odd topics are refused", func(b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			if strings.ContainsAny(topic, "*>") {
				return nil, errFault
			}
			return subscribe(ctx, topic, receive)
		}
	}},
	{"unsubscribe", "Close of a subscription does nothing", func(b *faulty) {
		b.closing(func(func() error) error { return nil })
	}},
	{"unsubscribe", "Close of a subscription closes the others of its topic", func(b *faulty) {
		subscribe := b.subscribe
		var mu sync.Mutex
		open := make(map[string][]cluster.Subscription)
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			s, err := subscribe(ctx, topic, receive)
			mu.Lock()
			open[topic] = append(open[topic], s)
			mu.Unlock()
			return faultySubscription(func() error {
				mu.Lock()
				defer mu.Unlock()
				for _, s := range open[topic] {
					s.Close()
				}
				return nil
			}), err
		}
	}},
	{"unsubscribe", "a subscription cannot be closed again", func(b *faulty) {
		var closed atomic.Bool
		b.closing(func(closing func() error) error {
			if closed.Swap(true) {
				return errFault
			}
			return closing()
		})
	}},
	{"subscription close waits", "Close of a subscription does not wait", func(b *faulty) {
		b.closing(func(closing func() error) error {
			go func() { _ = closing() }()
			return nil
		})
	}},
	{"subscription close waits", "the second Close of a subscription does not wait", func(b *faulty) {
		var closed atomic.Bool
		b.closing(func(closing func() error) error {
			if closed.Swap(true) {
				return nil
			}
			return closing()
		})
	}},
	{"subscription close waits", "queued envelopes are received during Close", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				receive(e)
				if numberOf(e.Payload) == 0 {
					receive(e)
				}
			}
		})
	}},
	{"broker close waits", "Close of a broker does not wait", func(b *faulty) {
		closing := b.close
		b.close = func() error {
			go func() { _ = closing() }()
			return nil
		}
	}},
	{"broker close waits", "the second Close of a broker does not wait", func(b *faulty) {
		closing := b.close
		var closed atomic.Bool
		b.close = func() error {
			if closed.Swap(true) {
				return nil
			}
			return closing()
		}
	}},
	{"closed broker", "a closed broker takes envelopes", func(b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if err := publish(ctx, e); !errors.Is(err, cluster.ErrClosed) {
				return err
			}
			return nil
		}
	}},
	{"closed broker", "a closed broker has an error of its own", func(b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			s, err := subscribe(ctx, topic, receive)
			if errors.Is(err, cluster.ErrClosed) {
				err = errFault
			}
			return s, err
		}
	}},
	{"closed broker", "a broker cannot be closed again", func(b *faulty) {
		closing := b.close
		var closed atomic.Bool
		b.close = func() error {
			if closed.Swap(true) {
				return cluster.ErrClosed
			}
			return closing()
		}
	}},
	{"closed broker", "Close does nothing", func(b *faulty) {
		b.close = func() error { return nil }
	}},
	{"context", "Publish ignores its context", func(b *faulty) {
		publish := b.publish
		b.publish = func(_ context.Context, e cluster.Envelope) error { return publish(context.Background(), e) }
	}},
	{"context", "Subscribe ignores its context", func(b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(_ context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			return subscribe(context.Background(), topic, receive)
		}
	}},
	{"context", "a subscription ends with its context", func(b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			return subscribe(context.WithoutCancel(ctx), topic, func(e cluster.Envelope) {
				if ctx.Err() == nil {
					receive(e)
				}
			})
		}
	}},
	{"receive may publish and subscribe", "no calls during receive", func(b *faulty) {
		var mu sync.Mutex
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if !mu.TryLock() {
				return errFault
			}
			defer mu.Unlock()
			return publish(ctx, e)
		}
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				mu.Lock()
				defer mu.Unlock()
				receive(e)
			}
		})
	}},
	{"large payloads", "large payloads are cut", changing(func(e *cluster.Envelope) { e.Payload = e.Payload[:min(len(e.Payload), 1<<16)] })},
	{"large payloads", "large payloads are refused", func(b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if len(e.Payload) >= 1_000_000 {
				return errFault
			}
			return publish(ctx, e)
		}
	}},
	{"large payloads", "large payloads come late", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			var late *cluster.Envelope
			return func(e cluster.Envelope) {
				if len(e.Payload) == 1_000_000 {
					late = &e
					return
				}
				receive(e)
				if late != nil {
					receive(*late)
					late = nil
				}
			}
		})
	}},
	{"payloads are kept", "a buffer is reused", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			var buffer []byte
			return func(e cluster.Envelope) {
				buffer = append(buffer[:0], e.Payload...)
				e.Payload = buffer
				receive(e)
			}
		})
	}},
	{"slow subscriber", "gaps are silent", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				if !e.Gap {
					receive(e)
				}
			}
		})
	}},
	{"slow subscriber", "gaps come too late", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			var gap *cluster.Envelope
			return func(e cluster.Envelope) {
				if e.Gap {
					gap = &e
					return
				}
				if gap != nil {
					receive(*gap)
					gap = nil
				}
				receive(e)
			}
		})
	}},
	{"slow subscriber", "gaps come in the wrong place", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			told := false
			return func(e cluster.Envelope) {
				if !told {
					told = true
					receive(cluster.Envelope{Topic: e.Topic, Gap: true})
				}
				if !e.Gap {
					receive(e)
				}
			}
		})
	}},
	{"slow subscriber", "nothing comes after a gap", func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			ended := false
			return func(e cluster.Envelope) {
				if !ended {
					receive(e)
				}
				ended = ended || e.Gap
			}
		})
	}},
	{"slow subscriber", "Publish waits for subscribers", func(b *faulty) {
		publish := b.publish
		received := make(chan struct{}, 1<<16)
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if err := publish(ctx, e); err != nil {
				return err
			}
			select {
			case <-received:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				receive(e)
				received <- struct{}{}
			}
		})
	}},
	{"slow subscriber", "one goroutine for all subscriptions", func(b *faulty) {
		var mu sync.Mutex
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				mu.Lock()
				defer mu.Unlock()
				receive(e)
			}
		})
	}},
	{"concurrent use", "one Publish at a time", func(b *faulty) {
		publish := b.publish
		var busy atomic.Bool
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if busy.Swap(true) {
				return errFault
			}
			defer busy.Store(false)
			runtime.Gosched()
			return publish(ctx, e)
		}
	}},
}
