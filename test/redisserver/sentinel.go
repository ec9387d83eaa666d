package redisserver

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
)

// MasterName is how Sentinels call the master.
const MasterName = "main"

// A Failover is a master with a replica, and a Sentinel that makes a new master when that dies.
type Failover struct{ Sentinel, Master, Replica *Server }

// NewFailover starts all three. It returns when the Sentinel knows the replica.
func NewFailover(t testing.TB) *Failover {
	t.Helper()
	master := New(t, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
	replica := New(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port))
	configuration := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 1\n"+
		"sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 5000\n", MasterName, master.Port)
	sentinel := start(t, filepath.Join(t.TempDir(), "sentinel.conf"), configuration, []string{"--sentinel"})
	replica.WaitFor("INFO replication", "master_link_status:up", "the replica does not follow the master")
	sentinel.WaitFor("SENTINEL MASTERS", "num-slaves\r\n$1\r\n1\r\n", "the Sentinel does not find the replica")
	return &Failover{Sentinel: sentinel, Master: master, Replica: replica}
}
