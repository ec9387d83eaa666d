package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// outcome describes answers: nodes and their bodies, and then who is missing.
func outcome(t testing.TB, a Answers, err error) string {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	var all []string
	for _, node := range slices.Sorted(maps.Keys(a.Nodes)) {
		all = append(all, node+" "+string(a.Nodes[node]))
	}
	return fmt.Sprint(strings.Join(all, ", "), " missing ", a.Missing)
}

// asked returns three nodes that answer "echo" with their name and the body.
func asked(t testing.TB) (c *testCluster, a, b, d *testNode) {
	c = newTestCluster(t)
	nodes := []*testNode{c.join("a"), c.join("b"), c.join("d")}
	for _, n := range nodes {
		n.Answer("echo", func(_ context.Context, r Request) ([]byte, error) {
			return fmt.Append(nil, n.Node(), " says ", string(r.Body), " to ", r.Node), nil
		})
	}
	pass(10 * time.Second)
	return c, nodes[0], nodes[1], nodes[2]
}

func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, d := asked(t)
		b.Answer("fail", func(context.Context, Request) ([]byte, error) { return nil, errors.New("out of order") })
		d.Answer("fail", func(context.Context, Request) ([]byte, error) { return nil, nil })
		tests := []struct {
			kind, to string
			want     string
		}{
			{"echo", "", "b b says hello to a, d d says hello to a missing []"},
			{"echo", "d", "d d says hello to a missing []"},
			{"echo", "d b", "b b says hello to a, d d says hello to a missing []"},
			{"echo", "d d nobody nobody else", "d d says hello to a missing [else nobody]"},
			{"echo", "nobody", " missing [nobody]"},
			{"echo", "a", " missing []"},
			{"fail", "", "d  missing [b]"},
			{"unknown", "", " missing [b d]"},
		}
		for _, test := range tests {
			start := time.Now()
			answers, err := a.Request(t.Context(), test.kind, []byte("hello"), strings.Fields(test.to)...)
			expect(t, test.kind+" to "+test.to, outcome(t, answers, err), test.want)
			expect(t, test.kind+" took", time.Since(start), 0)
		}
		if _, err := a.Request(t.Context(), "echo", make([]byte, MaxRequest+1)); !errors.Is(err, ErrTooLarge) {
			t.Error("too large:", err)
		}
		expect(t, "requests", len(a.requests.pending), 0)
		expect(t, "bytes", a.requests.bytes, 0)
		expect(t, "gaps", a.gapCount()+b.gapCount()+d.gapCount(), 0)
		synctest.Wait()
		expect(t, "served", b.requests.served+d.requests.served, 0)
	})
}

// A request arrives after what was published before it.
func TestRequestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, _ := asked(t)
		b.Answer("texts", func(context.Context, Request) ([]byte, error) { return []byte(b.texts()), nil })
		a.say(t, All, "1", "2", "3")
		answers, err := a.Request(t.Context(), "texts", nil)
		expect(t, "answers", outcome(t, answers, err), "b a 1, a 2, a 3 missing [d]")
	})
}

// One node does not answer, for any reason. The others do, and its name is told.
func TestMissing(t *testing.T) {
	tests := []struct {
		name string
		act  func(c *testCluster, a, b *testNode) // while b works on the request
		want string
		took time.Duration
	}{
		{"silent", func(*testCluster, *testNode, *testNode) {}, "d too missing [b]", 20 * time.Second},
		{"leaves", func(_ *testCluster, _, b *testNode) { b.Close() }, "d too missing []", 0},
		{"is lost", func(_ *testCluster, _, b *testNode) { b.link.setCut(true) }, "d too missing [b]", 6 * time.Second},
		{"starts again", func(c *testCluster, _, b *testNode) { b.link.setCut(true); c.join("b") }, "d too missing [b]", 0},
		{"the asking node is cut off", func(_ *testCluster, a, _ *testNode) { a.link.setCut(true) }, "d too missing [b]", 20 * time.Second},
		{"the asking node closes", func(_ *testCluster, a, _ *testNode) { go a.Close() }, "d too missing [b]", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, a, b, d := asked(t)
				working := make(chan struct{})
				b.Answer("work", func(ctx context.Context, _ Request) ([]byte, error) {
					close(working)
					<-ctx.Done()
					pass(time.Millisecond) // both deadlines end at the same instant
					return []byte("late"), nil
				})
				d.Answer("work", func(context.Context, Request) ([]byte, error) { return []byte("too"), nil })
				go func() {
					<-working
					synctest.Wait()
					test.act(c, a, b)
				}()
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				answers, err := a.Request(ctx, "work", nil)
				expect(t, "answers", outcome(t, answers, err), test.want)
				if took := time.Since(start); took < test.took-2*time.Second || took > test.took+2*time.Second {
					t.Errorf("it took %v, want about %v", took, test.took)
				}
				pass(time.Minute)
				expect(t, "requests", len(a.requests.pending), 0)
			})
		})
	}
}

// A request without a deadline ends, too.
func TestDefaultTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, _ := asked(t)
		b.Answer("work", func(ctx context.Context, _ Request) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		answers, err := a.Request(context.Background(), "work", nil, "b")
		expect(t, "answers", outcome(t, answers, err), " missing [b]")
		expect(t, "took", time.Since(start), 5*time.Second)
		synctest.Wait()
		expect(t, "served", b.requests.served, 0)
	})
}

// A large answer comes in parts. If one is lost, the answer is missing, and never shortened.
func TestLargeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, d := asked(t)
		large := func(size int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), size/16) }
		size := 0
		for _, n := range []*testNode{b, d} {
			n.Answer("large", func(context.Context, Request) ([]byte, error) { return large(size), nil })
		}
		for _, size = range []int{0, answerPart - 16, answerPart, answerPart + 16, 5 * answerPart, MaxAnswer} {
			answers, err := a.Request(t.Context(), "large", nil)
			if err != nil || len(answers.Missing) > 0 || !bytes.Equal(answers.Nodes["b"], large(size)) || !bytes.Equal(answers.Nodes["d"], large(size)) {
				t.Errorf("%d bytes: %d and %d, missing %v, %v", size, len(answers.Nodes["b"]), len(answers.Nodes["d"]), answers.Missing, err)
			}
		}
		if largest := b.link.largest(); largest > 1_000_000 {
			t.Fatalf("a message has %d bytes", largest)
		}
		size = MaxAnswer + 16
		answers, err := a.Request(t.Context(), "large", nil)
		expect(t, "too large", outcome(t, answers, err), " missing [b d]")

		size = 5 * answerPart
		for _, part := range []string{`"more":true`, `"part":2,`, `"part":4`} {
			a.link.lose(func(e cluster.Envelope) bool {
				return e.Node == "b" && strings.Contains(string(e.Payload[:min(len(e.Payload), 200)]), part)
			})
			answers, err := a.Request(t.Context(), "large", nil)
			if err != nil || !slices.Equal(answers.Missing, []string{"b"}) || !bytes.Equal(answers.Nodes["d"], large(size)) {
				t.Errorf("without %s: %d and %d bytes, missing %v, %v", part, len(answers.Nodes["b"]), len(answers.Nodes["d"]), answers.Missing, err)
			}
		}
		a.link.lose(nil)
		answers, err = a.Request(t.Context(), "large", nil)
		expect(t, "in the end", fmt.Sprint(len(answers.Nodes), answers.Missing, err), "2 [] <nil>")
		expect(t, "bytes", a.requests.bytes, 0)
	})
}

// Both sides take a bounded number of requests.
func TestRequestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, d := asked(t)
		release := make(chan struct{})
		for _, n := range []*testNode{a, b} {
			n.Answer("work", func(context.Context, Request) ([]byte, error) {
				<-release
				return nil, nil
			})
		}
		results := make(chan string, 2*maxRequests)
		ask := func(n *testNode) {
			answers, err := n.Request(t.Context(), "work", nil, "b")
			switch {
			case errors.Is(err, ErrTooManyRequests):
				results <- "refused here"
			case err != nil:
				t.Error(err)
			case len(answers.Missing) > 0:
				results <- "refused there"
			default:
				results <- "answered"
			}
		}
		for range maxRequests {
			go ask(a)
		}
		synctest.Wait()
		go ask(a)
		go ask(d)
		synctest.Wait()
		expect(t, "served", b.requests.served, maxServed)
		first := []string{<-results, <-results}
		slices.Sort(first)
		expect(t, "results", strings.Join(first, ", "), "refused here, refused there")
		close(release)
		for range maxRequests {
			expect(t, "result", <-results, "answered")
		}
		synctest.Wait()
		expect(t, "served", b.requests.served, 0)
	})
}

// Nobody else lives: there is nothing to publish, or to wait for.
func TestRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestCluster(t).join("a")
		answers, err := a.Request(t.Context(), "echo", nil)
		expect(t, "answers", outcome(t, answers, err), " missing []")
		synctest.Wait()
		expect(t, "published", a.Stats().Published, 0)
	})
}
