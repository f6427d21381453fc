// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// ErrLocked says that another guard holds the lock of the socket or the root.
var ErrLocked = errors.New("another guard is at work")

// Lock makes this process the one guard of a socket, before it restores
// anything. The kernel drops the lock with the process, however it ends.
func Lock(socket string) (unlock func(), err error) {
	name := socket + ".lock"
	f, err := openLock(name)
	if err != nil {
		return nil, err
	}
	return lockFile(f)
}

// lockRoot makes a guard the only one of a cgroup root, whatever its socket and
// whether it has one. The lock is a file in dir, named after the root's id. It is
// not the root itself: anybody may open that for reading, and lock a guard out
// that has something to give back.
func lockRoot(dir string, root *cgroupfs.Root) (unlock func(), err error) {
	name := filepath.Join(dir, fmt.Sprintf("guard-%d.lock", root.ID()))
	f, err := openLock(name)
	if err != nil {
		return nil, err
	}
	unlock, err = lockFile(f)
	if err != nil {
		return nil, fmt.Errorf("one guard for %s: %w", root.Name(), err)
	}
	return unlock, nil
}

// openLock opens a lock file that only its owner can open.
func openLock(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

func lockFile(f *os.File) (unlock func(), err error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}
