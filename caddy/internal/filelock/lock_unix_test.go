//go:build unix

package filelock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const pathVariable = "FILELOCK_TEST_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(pathVariable); path != "" { // the other process of TestProcesses
		if _, err := Lock(path); err != nil {
			os.Exit(1)
		}
		os.Exit(0) // and with it the lock
	}
	os.Exit(m.Run())
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	unlock()
	if unlock, err = Lock(path); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	unlock()
	if _, err := Lock(filepath.Join(path, "no folder")); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("where no file can be: %v", err)
	}
}

func TestProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other := func() error {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), pathVariable+"="+path)
		return cmd.Run()
	}
	if err := other(); err != nil {
		t.Errorf("what nobody has: %v", err)
	}
	unlock, err := Lock(path)
	if err != nil {
		t.Fatalf("what an ended process had: %v", err)
	}
	if other() == nil {
		t.Error("two processes have it")
	}
	unlock()
}
