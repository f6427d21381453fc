// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// cacheDir returns the directory below the user's cache that is called name,
// and creates it.
func cacheDir(name ...string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	dir := filepath.Join(append([]string{base, "reflex", "vm"}, name...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create the cache directory: %w", err)
	}
	return dir, nil
}

// lock takes the advisory lock called name, known to all processes of the user,
// and waits for it until ctx ends, after having called waiting once. Beside others
// that are held beside others, it is held by all of them. The kernel frees it when
// the holder dies.
func lock(ctx context.Context, name string, beside bool, waiting func()) (unlock func(), err error) {
	how := syscall.LOCK_EX
	if beside {
		how = syscall.LOCK_SH
	}
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock %q: %w", name, err)
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("take the lock %q: %w", name, err)
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for the lock %q: %w", name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// publish moves the finished directory or file tmp to its final name. Losing a race
// to somebody who published the same content is success.
func publish(tmp, final string) error {
	err := os.Rename(tmp, final)
	if err == nil {
		return nil
	}
	if _, statErr := os.Stat(final); statErr == nil {
		return os.RemoveAll(tmp)
	}
	return fmt.Errorf("publish %s: %w", filepath.Base(final), err)
}
