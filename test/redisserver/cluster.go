package redisserver

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slots is how many slots a cluster has.
const slots = 1 << 14

// A Cluster is a Redis Cluster whose servers are all masters.
type Cluster struct{ Servers []*Server }

// NewCluster starts a cluster of n masters. It returns when all of them know that it is complete.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := new(Cluster)
	for i := range n {
		s := New(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
		first, last := i*slots/n, (i+1)*slots/n-1
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last))
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i > 0 {
			s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Servers[0].Port))
		}
		c.Servers = append(c.Servers, s)
	}
	c.Wait(t)
	return c
}

// Wait waits until all servers know that the cluster is complete.
func (c *Cluster) Wait(t testing.TB) {
	t.Helper()
	for _, s := range c.Servers {
		s.WaitFor("CLUSTER INFO", "cluster_state:ok", "the cluster is not complete")
		s.WaitFor("CLUSTER INFO", fmt.Sprintf("cluster_known_nodes:%d", len(c.Servers)), "the cluster is not complete")
	}
}

// WaitFor waits until the answer to a command contains a text. Redis tells nobody, so it is asked
// again and again. It may close the connection meanwhile, as a replica does that becomes the master.
func (s *Server) WaitFor(command, text, otherwise string) {
	s.t.Helper()
	for deadline := time.Now().Add(Timeout); ; time.Sleep(10 * time.Millisecond) { // as said above
		answer, err := s.try(strings.Fields(command)...)
		if err == nil && strings.Contains(answer, text) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %q, %v", otherwise, answer, err)
		}
	}
}

// URLs returns the addresses of all servers as URLs.
func (c *Cluster) URLs() []string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return urls
}

// Move moves a slot to another server, without its keys.
func (c *Cluster) Move(slot int, to int) {
	id := strings.Split(c.Servers[to].Do("CLUSTER", "MYID"), "\r\n")[1]
	c.Servers[to].Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", id)
	c.Servers[to].Do("CLUSTER", "BUMPEPOCH")
	for _, s := range c.Servers {
		s.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", id)
	}
}
