//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// loadTimeout bounds one run of broadcasts or acks.
	loadTimeout = 2 * time.Minute
	// ackConnections are the clients that emit acked events.
	ackConnections = 100
	// warmUp is the part of the counted broadcasts and acks that runs before them, for Node's
	// compiler and the pools of the servers.
	warmUp = 3
)

// load is one peer with connected clients. The first one sends broadcasts, those after it are
// members, and the last ones emit acked events.
type load struct {
	*bench
	peer    peer
	servers []*server
	to      target
	crowd   *crowd
	say     sayer
}

// measureLoad does a round with one peer and new processes: all that is measured over the
// connections of one crowd.
func (b *bench) measureLoad(ctx context.Context, p peer, dir string, say sayer) (err error) {
	servers, err := p.start(ctx, b.tools, dir, false)
	defer func() { stopAll(servers, err, say) }()
	if err != nil {
		return err
	}
	l := &load{bench: b, peer: p, servers: servers, to: p.to(servers, false), say: say}
	if err := l.connect(ctx); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { l.crowd.close() }()

	if b.chosen(groupFanOut) || b.chosen(groupLatency) {
		if err := l.crowd.enter(ctx, l.entrants(0, b.members)); err != nil {
			return err
		}
	}
	steps := []struct {
		group, name string
		measure     func(context.Context) error
	}{
		{groupFanOut, "broadcasting", func(ctx context.Context) error { return l.fanOut(ctx, colFanOut, b.members, textLength) }},
		{groupFanOut, "broadcasting 1 KiB", func(ctx context.Context) error { return l.fanOut(ctx, colFanOutLong, b.members, 1024) }},
		{groupAcks, "acks, 4 in flight", func(ctx context.Context) error { return l.acks(ctx, colAcks4, 4) }},
		{groupAcks, "acks, 1 in flight", func(ctx context.Context) error { return l.acks(ctx, colAcks1, 1) }},
		{groupLatency, "broadcasting at a fixed rate", l.broadcastLatency},
		{groupLatency, "acks at a fixed rate", l.ackLatency},
		{groupFanOut, "broadcasting to all", l.fanOutToAll},
		{groupStorm, "coming back", l.storm},
	}
	for _, step := range steps {
		if !b.chosen(step.group) || b.hasFailed(p.name, step.name) {
			continue
		}
		err = within(ctx, loadTimeout, step.measure)
		if err != nil && ctx.Err() == nil {
			// The connections may be broken: the other figures come in the next round again.
			say("%s failed: %v", step.name, err)
			for _, s := range servers {
				say("%s", s.tail())
			}
			b.fail(p.name, step.name, err)
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return do(ctx)
}

// size is how many clients the peer gets: what all figures together need, or as many as its
// processes have files for.
func (l *load) size() int {
	need := l.members
	if l.chosen(groupFanOut) || l.chosen(groupStorm) || l.chosen(groupConnect) {
		need = max(need, l.all)
	}
	need += 1 + ackConnections
	if l.peer.proxied {
		need = min(need, l.files/2-100)
	}
	return need
}

// connect connects the clients, and measures what that costs.
func (l *load) connect(ctx context.Context) error {
	warm, err := connectCrowd(ctx, l.to, warmUpConnections, oneByOne)
	if err != nil {
		return err
	}
	warm.close()
	n := l.size()
	c, err := account(l.servers, n, func() (time.Duration, error) {
		crowd, err := connectCrowd(ctx, l.to, n, oneByOne)
		l.crowd = crowd
		return 0, err
	})
	if err == nil && l.chosen(groupConnect) {
		l.report.add(colConnect, l.peer.name, c.micros()/1000)
		l.say("connections: %v", c)
	}
	return err
}

// entrants returns the clients that must enter the room so that members from..to are in it. Client
// 0 is the sender.
func (l *load) entrants(from, to int) []*client {
	if from == 0 && !l.peer.protocol.senderJoins || from > 0 {
		from++
	}
	return l.crowd.clients[from : 1+to]
}

// fanOut measures the CPU time of broadcasts to the first members.
func (l *load) fanOut(ctx context.Context, column string, members, length int) error {
	b := &broadcasts{crowd: l.crowd, sender: l.crowd.clients[0], members: l.crowd.clients[1 : 1+members], length: length}
	count := max(1, l.deliveries/members)
	if _, err := b.inTurn(ctx, max(1, count/warmUp), l.window); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	c, err := account(l.servers, count*members, func() (time.Duration, error) { return b.inTurn(ctx, count, l.window) })
	if err == nil {
		l.report.add(column, l.peer.name, c.micros())
		l.say("deliveries of %d bytes to %d members: %v", length, members, c)
	}
	return err
}

// fanOutToAll has l.all members in the room.
func (l *load) fanOutToAll(ctx context.Context) error {
	if len(l.crowd.clients) < l.all+1+ackConnections {
		return nil // the processes have too few files
	}
	if err := l.crowd.enter(ctx, l.entrants(l.members, l.all)); err != nil {
		return err
	}
	return l.fanOut(ctx, colFanOutAll, l.all, textLength)
}

func (l *load) calls() *calls {
	return &calls{crowd: l.crowd, clients: l.crowd.clients[len(l.crowd.clients)-ackConnections:]}
}

// acks measures the CPU time of acked events.
func (l *load) acks(ctx context.Context, column string, window int) error {
	c, err := l.calls().account(ctx, l.servers, l.acked, window)
	if err == nil {
		l.report.add(column, l.peer.name, c.micros())
		l.say("acks with %d in flight: %v", window, c)
	}
	return err
}

// account measures the CPU time of count acked events, after others.
func (a *calls) account(ctx context.Context, servers []*server, count, window int) (cost, error) {
	each := max(1, count/len(a.clients))
	if _, err := a.inTurn(ctx, max(1, each/warmUp), window); err != nil {
		return cost{}, fmt.Errorf("warming up: %w", err)
	}
	return account(servers, each*len(a.clients), func() (time.Duration, error) { return a.inTurn(ctx, each, window) })
}

// broadcastLatency measures how long deliveries take while broadcasts come at a fixed rate.
func (l *load) broadcastLatency(ctx context.Context) error {
	l.crowd.eager.Store(true)
	defer l.crowd.eager.Store(false)
	b := &broadcasts{crowd: l.crowd, sender: l.crowd.clients[0], members: l.crowd.clients[1 : 1+l.members], length: textLength}
	count := max(1, int(l.seconds*float64(l.broadcastRate)))
	times, err := b.atRate(ctx, count, l.broadcastRate)
	if err == nil {
		l.addPercentiles(colBroadcast50, colBroadcast99, colBroadcast999, times)
	}
	return err
}

// ackLatency measures how long acks take while events come at a fixed rate.
func (l *load) ackLatency(ctx context.Context) error {
	l.crowd.eager.Store(true)
	defer l.crowd.eager.Store(false)
	count := max(ackConnections, int(l.seconds*float64(l.ackRate)))
	times, err := l.calls().atRate(ctx, count, l.ackRate)
	if err == nil {
		l.addPercentiles(colAck50, colAck99, colAck999, times)
	}
	return err
}

func (l *load) addPercentiles(col50, col99, col999 string, times []time.Duration) {
	millis := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	p := newPercentiles(times)
	l.report.add(col50, l.peer.name, millis(p.p50))
	l.report.add(col99, l.peer.name, millis(p.p99))
	l.report.add(col999, l.peer.name, millis(p.p999))
	l.say("%s: p50 %v, p99 %v, p99.9 %v of %d", col50, p.p50, p.p99, p.p999, len(times))
}

// storm has all clients lose their connections and come back at once, as after a failure of the
// network between. It measures the time from the last loss until all are connected again.
func (l *load) storm(ctx context.Context) error {
	if len(l.crowd.clients) < l.all {
		return nil // the processes have too few files
	}
	l.crowd.close()
	start := time.Now()
	crowd, err := connectCrowd(ctx, l.to, l.all, dialing{inFlight: l.all, retry: time.Second})
	if err != nil {
		return err
	}
	took := time.Since(start).Seconds()
	l.crowd = crowd
	l.report.add(colStorm, l.peer.name, took)
	l.say("%d clients were back after %.2f s", l.all, took)
	return nil
}
