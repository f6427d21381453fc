// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// root is where the machine's cgroups are.
const root = "/sys/fs/cgroup"

// unit is a cgroup and what runs in it, as a unit of systemd: made when it
// starts, removed when it stops, so that one that starts again is another cgroup
// under the same path.
type unit struct {
	dir   string
	limit int64 // memory.max in bytes, 0 for none

	mu      sync.Mutex
	running []*exec.Cmd
	ended   sync.WaitGroup
}

// slice makes a cgroup that holds others.
func slice(name string) error {
	dir := filepath.Join(root, name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make slice: %w", err)
	}
	return write(dir, "cgroup.subtree_control", "+memory +cpu +io +pids")
}

// start makes the cgroup of u and runs argv in it.
func (u *unit) start(argv ...string) error {
	if err := os.Mkdir(u.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	if u.limit > 0 {
		if err := write(u.dir, "memory.max", strconv.FormatInt(u.limit, 10)); err != nil {
			return err
		}
	}
	_, err := u.run(argv...)
	return err
}

// run runs argv in the cgroup that is there; done is closed when it has ended.
func (u *unit) run(argv ...string) (done <-chan struct{}, err error) {
	dir, err := os.Open(u.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %v: %w", argv, err)
	}
	u.running = append(u.running, cmd)
	end := make(chan struct{})
	u.ended.Go(func() {
		defer close(end)
		_ = cmd.Wait() // told to end, it ends by a signal
		u.mu.Lock()
		defer u.mu.Unlock()
		for i, c := range u.running {
			if c == cmd {
				u.running = append(u.running[:i], u.running[i+1:]...)
				break
			}
		}
	})
	return end, nil
}

// wait waits until everything in u has ended by itself, and removes it.
func (u *unit) wait() error {
	u.ended.Wait()
	return u.remove()
}

// tell tells everything in u to end.
func (u *unit) tell() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.running {
		_ = c.Process.Signal(syscall.SIGTERM)
	}
}

// stop ends everything in u, and removes it.
func (u *unit) stop() error {
	u.tell()
	return u.wait()
}

func (u *unit) remove() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Rmdir(u.dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", u.dir, err)
		}
	}
}

func write(dir, file, value string) error {
	// No O_CREATE: an unknown knob must fail.
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("write %s of %s: %w", file, dir, err)
	}
	return nil
}
