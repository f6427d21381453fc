// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another guard holds the lock of the socket or the root.
var ErrLocked = errors.New("another guard is at work")

// Lock makes this process the one guard of a socket, before it restores
// anything. The kernel drops the lock with the process, however it ends.
func Lock(socket string) (unlock func(), err error) {
	name := socket + ".lock"
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return lockFile(f)
}

// lockRoot makes a guard the only one of a cgroup root, whatever its socket and
// whether it has one. It is the directory itself that is locked, so that other
// names of it, in other mount namespaces too, are the same lock.
func lockRoot(root string) (unlock func(), err error) {
	f, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("lock cgroup root: %w", err)
	}
	return lockFile(f)
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
