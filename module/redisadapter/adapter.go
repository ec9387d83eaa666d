package redisadapter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Options are the settings of an Adapter.
type Options struct {
	// Dialer connects to Redis.
	Dialer *redisbroker.ChannelDialer

	// Namespaces are those that are connected. Their names, and Key, must have none of the characters
	// *?[]\#.
	Namespaces []string

	// Key is the option of the same name of the other servers' adapters. Default: DefaultKey.
	Key string

	// Cluster is the same for all nodes of the hub, and another one for all else. Nodes hear one
	// another over the bus, and so not here, too.
	Cluster string

	// Queue is how many bytes may wait for Redis, and as many may wait to be handled. Default: 16 MiB.
	Queue int

	// Logger is for what is wrong with messages and connections. Default: none.
	Logger *zap.Logger
}

// An Adapter makes a hub's node a member of the cluster of Socket.IO's servers. It connects by itself,
// and again when the connection is lost.
type Adapter struct {
	hub        *realtime.Hub
	dialer     *redisbroker.ChannelDialer
	namespaces []string
	channels   map[string]channels // by namespaces
	logger     *zap.Logger
	limited    *zap.Logger // logs each message once a second at most

	cluster string // begins the uids of all nodes
	uid     string

	in, out  *queue
	requests pendingRequests

	published, dropped, invalid atomic.Uint64

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	leave   chan struct{} // closed when Close begins
	left    sync.Once
	running sync.WaitGroup
	away    bool // there was no connection at last; only link uses it

	handling sync.Mutex // held while a message is handled

	mu   sync.Mutex
	conn *redisbroker.Channels // nil without a connection
}

// Open returns an Adapter that is about to connect. It becomes the hub's bridge, and the hub closes
// it.
func Open(hub *realtime.Hub, o Options) *Adapter {
	if o.Key == "" {
		o.Key = DefaultKey
	}
	if o.Queue == 0 {
		o.Queue = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	hash := sha256.Sum256([]byte(o.Cluster))
	a := &Adapter{
		hub:        hub,
		dialer:     o.Dialer,
		namespaces: slices.Clone(o.Namespaces),
		channels:   make(map[string]channels),
		logger:     o.Logger,
		limited:    o.Logger.WithOptions(zap.WrapCore(ratelog.New)),
		cluster:    base64.RawURLEncoding.EncodeToString(hash[:9]) + ".",
		in:         newQueue(o.Queue),
		out:        newQueue(o.Queue),
		leave:      make(chan struct{}),
	}
	a.uid = a.cluster + randid.New()
	for _, n := range o.Namespaces {
		a.channels[n] = newChannels(o.Key, n)
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	hub.SetBridge(a)
	a.running.Go(a.link)
	a.running.Go(a.handle)
	return a
}

// isOurs reports whether a uid is that of a node of the hub.
func (a *Adapter) isOurs(uid string) bool { return strings.HasPrefix(uid, a.cluster) }

// Name implements [realtime.Bridge].
func (a *Adapter) Name() string { return "socket.io" }

// Namespaces implements [realtime.Bridge].
func (a *Adapter) Namespaces() []string { return a.namespaces }

// Stats implements [realtime.Bridge].
func (a *Adapter) Stats() realtime.BrokerStats {
	return realtime.BrokerStats{
		Queued:    a.out.size(),
		Published: a.published.Load(),
		Dropped:   a.dropped.Load(),
		Invalid:   a.invalid.Load(),
	}
}

// Close implements [realtime.Bridge]. Requests of others that have come are answered before.
func (a *Adapter) Close() {
	a.left.Do(func() { close(a.leave) })
	a.running.Wait()
}

// publish queues a message. It reports false if it is lost.
func (a *Adapter) publish(channel string, bytes []byte) bool {
	if a.out.add(redisbroker.ChannelMessage{Channel: channel, Bytes: bytes}) {
		return true
	}
	a.drop(1, "too much waits for Redis")
	return false
}

func (a *Adapter) drop(n int, why string) {
	dropped := a.dropped.Add(uint64(n))
	a.limited.Error("messages to Socket.IO's servers are dropped: "+why, zap.Uint64("dropped", dropped))
}

// refuse counts a message that is not valid.
func (a *Adapter) refuse(channel string, err error) {
	a.invalid.Add(1)
	a.limited.Warn("a message from Socket.IO's servers is not valid", zap.String("channel", channel), zap.Error(err))
}

// Interface guard
var _ realtime.Bridge = (*Adapter)(nil)
