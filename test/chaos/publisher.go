package chaos

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// A Publisher broadcasts numbers by the HTTP API, one after the other as they are
// accepted.
type Publisher struct {
	Source *Source
	URL    string // of the API, such as http://127.0.0.1:8080/api/realtime
	Key    string
	TLS    *tls.Config
	Pace   time.Duration

	// Again repeats failed requests with the same Idempotency-Key, which is safe while the
	// server's process lives. Otherwise a failed number counts as not acknowledged.
	Again bool

	Accepted Latency
	problems problems
	repeats  Repeats
	turn     sync.Mutex // held while a number is published, and by Pause
}

// attempts is how often a number is sent at most.
const attempts = 10

// Pause waits for the request in flight. Nothing is published until Resume is called.
func (p *Publisher) Pause() { p.turn.Lock() }

// Resume ends what Pause began.
func (p *Publisher) Resume() { p.turn.Unlock() }

// Problems returns how many requests to a listening server have failed, and
// descriptions of the first ones.
func (p *Publisher) Problems() (count int, words []string) {
	p.problems.mu.Lock()
	defer p.problems.mu.Unlock()
	return p.problems.count, append([]string(nil), p.problems.words...)
}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	address, err := url.Parse(p.URL)
	if err != nil {
		return fmt.Errorf("parsing the address of the API: %w", err)
	}
	conn := &connection{address: address.Host, trust: p.TLS, resend: p.Again, repeats: &p.repeats}
	defer conn.close()
	ticker := time.NewTicker(p.Pace)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		p.turn.Lock()
		if ctx.Err() == nil {
			p.publish(conn, address.Path)
		}
		p.turn.Unlock()
	}
}

// publish publishes one number.
func (p *Publisher) publish(conn *connection, path string) {
	// If nobody listens nothing was sent, and no number is used.
	if err := conn.dial(time.Now().Add(writeTimeout)); err != nil {
		if !NobodyListens(err) || p.Again {
			p.problems.add("%v", err)
		}
		return
	}
	n := p.Source.Next()
	header := fmt.Sprintf("Authorization: Bearer %s\r\nContent-Type: application/json\r\nIdempotency-Key: %s-%d\r\n", p.Key, p.Source.Name(), n)
	body := fmt.Appendf(nil, `{"event":"news","everyone":true,"args":[%q,%d]}`, p.Source.Name(), n)
	begin := time.Now()
	for range attempts {
		status, answer, err := conn.do(http.MethodPost, path+"/emit", header, body, time.Now().Add(writeTimeout))
		if err == nil && status == http.StatusAccepted {
			p.Accepted.Add(time.Since(begin))
			p.Source.Ack(n)
			return
		}
		if err == nil {
			err = problem(http.MethodPost, status, answer)
		}
		p.problems.add("%d of %s: %v", n, p.Source.Name(), err)
		if !p.Again {
			return
		}
	}
}
