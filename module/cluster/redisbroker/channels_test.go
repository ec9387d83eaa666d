package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// dialChannels connects, and returns what is received.
func dialChannels(t *testing.T, o Options) (*Channels, <-chan string, <-chan error) {
	t.Helper()
	d, err := NewChannelDialer(o)
	if err != nil {
		t.Fatal(err)
	}
	received, lost := make(chan string, 100), make(chan error, 100)
	c, err := d.Dial(testContext(t), ChannelHandler{
		Receive: func(channel, message string) { received <- channel + "=" + message },
		Lost:    func(why error) { lost <- why },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, received, lost
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), redisserver.Timeout)
	t.Cleanup(cancel)
	return ctx
}

func receiveNext(t *testing.T, received <-chan string) string {
	t.Helper()
	select {
	case text := <-received:
		return text
	case <-time.After(redisserver.Timeout):
		t.Fatal("nothing is received")
		return ""
	}
}

// TestChannels has two connections hear each other, and count each other, at all kinds of servers.
func TestChannels(t *testing.T) {
	single := redisserver.New(t)
	failover := redisserver.NewFailover(t)
	for name, o := range map[string]Options{
		"one server": {URLs: []string{single.URL()}},
		"Sentinel":   {URLs: []string{failover.Sentinel.URL()}, Sentinel: redisserver.MasterName},
		"cluster":    {URLs: redisserver.NewCluster(t, 3).URLs()},
		"sharded":    {URLs: redisserver.NewCluster(t, 2).URLs(), Sharded: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, receivedA, _ := dialChannels(t, o)
			b, receivedB, lost := dialChannels(t, o)
			ctx := testContext(t)
			for _, c := range []*Channels{a, b} {
				if err := c.SubscribePattern(ctx, "p#*"); err != nil {
					t.Fatal(err)
				}
				if err := c.Subscribe(ctx, "one", "two"); err != nil {
					t.Fatal(err)
				}
			}
			for _, channel := range []string{"one", "two", "p#x"} {
				n, err := a.Subscribers(ctx, channel)
				if want := map[bool]int{true: 2}[channel != "p#x"]; n != want || err != nil {
					t.Errorf("%s has %d subscribers, %v; want %d", channel, n, err, want)
				}
			}
			var messages []ChannelMessage
			var want []string
			for i := range 20 {
				channel := []string{"one", "p#" + strconv.Itoa(i)}[i%2]
				messages = append(messages, ChannelMessage{channel, []byte(fmt.Sprintf("\x93\xff%d", i))})
				want = append(want, fmt.Sprintf("%s=\x93\xff%d", channel, i))
			}
			if err := a.Publish(ctx, messages); err != nil {
				t.Fatal(err)
			}
			for _, text := range want {
				for _, received := range []<-chan string{receivedA, receivedB} {
					if got := receiveNext(t, received); got != text {
						t.Errorf("%q is received, want %q", got, text)
					}
				}
			}
			if err := a.Probe(ctx); err != nil {
				t.Error(err)
			}

			if err := a.Uncount(ctx, "two", "one"); err != nil {
				t.Fatal(err)
			}
			if err := b.Publish(ctx, []ChannelMessage{{"two", []byte("last")}, {"one", nil}}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"two=last", "one="} {
				if got := receiveNext(t, receivedA); got != want {
					t.Errorf("%q is received, want %q", got, want)
				}
			}
			if n, err := b.Subscribers(ctx, "two"); n != 1 || err != nil {
				t.Errorf("there are %d subscribers, %v", n, err)
			}
			select {
			case why := <-lost:
				t.Error(why)
			default:
			}
		})
	}
}

func TestChannelsLost(t *testing.T) {
	server := redisserver.New(t)
	c, _, lost := dialChannels(t, Options{URLs: []string{server.URL()}})
	server.Stop()
	select {
	case why := <-lost:
		t.Log(why)
	case <-time.After(redisserver.Timeout):
		t.Fatal("nothing says that the connection is lost")
	}
	ctx := testContext(t)
	if _, err := c.Subscribers(ctx, "one"); err == nil {
		t.Error("a lost connection counts")
	}
	if err := c.Publish(ctx, []ChannelMessage{{"one", nil}}); err == nil {
		t.Error("a lost connection publishes")
	}
	d, err := NewChannelDialer(Options{URLs: []string{server.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := d.Dial(ctx, ChannelHandler{}); err == nil {
		c.Close()
		t.Error("a server that has ended is dialed")
	}
}
