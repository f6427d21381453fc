// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	// A child that lives shorter than settled failed at once; it is started
	// again without delay twice, then after a pause that doubles up to maxPause.
	// That is short: a child may have written a lease before it died. A lease
	// lives at least one second, and the original must be back one second after
	// its end at the latest.
	settled    = time.Second
	patience   = 2
	firstPause = 50 * time.Millisecond
	maxPause   = 500 * time.Millisecond
	// stopWithin is how long a child may take to release everything.
	stopWithin = 10 * time.Second
	// restoreWithin is how long the restore after a failed child may take.
	restoreWithin = 10 * time.Second
)

func superviseCommand(o *options, log *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:   "supervise",
		Short: "Run the guard and replace it at once whenever it dies or hangs",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			spareFromOOM(log)
			lockMemory(log)
			s := supervisor{path: "/proc/self/exe", flags: o.args(), hung: hungAfter, within: stopWithin, log: log}
			return s.run(c.Context())
		},
	}
}

// args are the flags of a child that acts where its parent was told to.
func (o *options) args() []string {
	args := []string{"--socket=" + o.socket, fmt.Sprintf("--uid=%d", o.uid), "--cgroup-root=" + o.root, "--kill-switch=" + o.killSwitch}
	for _, p := range o.protect {
		args = append(args, "--protect="+p)
	}
	return append(args, o.network.args()...)
}

// supervisor keeps one child alive.
type supervisor struct {
	path   string
	flags  []string // of serve, and of restore
	env    []string
	hung   time.Duration // hungAfter
	pulse  pulse
	within time.Duration // stopWithin
	log    *slog.Logger
}

// run returns when ctx is done and the child has stopped. Where the last one
// did not stop by itself, run gives back what it held.
func (s *supervisor) run(ctx context.Context) error {
	// A child gets its parent's-death signal when the thread that started it
	// ends: this one must not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.pulse = pulse{hung: s.hung, clock: boottime}
	for failures := 0; ; {
		started := time.Now()
		err := s.child(ctx)
		if ctx.Err() != nil {
			return s.end(err) //nolint:contextcheck // the context that would be passed has ended
		}
		if time.Since(started) < settled {
			failures++
		} else {
			failures = 0
		}
		wait := pause(failures)
		s.log.Error("guard ended, starting it again", "cause", err, "after", wait)
		select {
		case <-ctx.Done():
			return s.end(cmp.Or(err, errEnded)) //nolint:contextcheck // the same
		case <-time.After(wait):
		}
	}
}

// errEnded says that a child ended without having been told to.
var errEnded = errors.New("guard ended by itself")

// end restores once after a child that failed: nobody else will.
func (s *supervisor) end(child error) error {
	if child == nil {
		return nil
	}
	s.log.Warn("guard did not stop by itself, restoring for it", "cause", child)
	ctx, cancel := context.WithTimeout(context.Background(), restoreWithin)
	defer cancel()
	c := exec.CommandContext(ctx, s.path, append([]string{"restore"}, s.flags...)...)
	c.Args[0] = "reflexguard"
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(os.Environ(), s.env...)
	c.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := c.Run(); err != nil {
		return errors.Join(child, fmt.Errorf("restore: %w", err))
	}
	return nil
}

// pause is the wait before the next start after so many failures in a row.
func pause(failures int) time.Duration {
	if failures <= patience {
		return 0
	}
	return min(firstPause<<min(failures-patience-1, 16), maxPause)
}

// child runs one child to its end. With ctx the child is told to stop.
func (s *supervisor) child(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("heartbeat pipe: %w", err)
	}
	defer r.Close()
	c := exec.Command(s.path, append([]string{"serve"}, s.flags...)...)
	c.Args[0] = "reflexguard"
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(append(os.Environ(), heartbeatFD+"=3"), s.env...)
	c.ExtraFiles = []*os.File{w}
	c.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err = c.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	ended := make(chan struct{})
	var hung atomic.Bool
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		s.pulse.listen(r, func() {
			if ctx.Err() != nil {
				return // it releases instead of patrolling, and has stopWithin for it
			}
			hung.Store(true)
			_ = c.Process.Kill()
		})
	}()
	go func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		notify("STOPPING=1")
		_ = c.Process.Signal(unix.SIGTERM)
		select {
		case <-ended:
		case <-time.After(s.within):
			_ = c.Process.Kill()
		}
	}()
	err = c.Wait()
	close(ended)
	<-listening // the pipe ended with the child
	switch {
	case hung.Load():
		return errors.New("it hung")
	case err != nil:
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}

// notify tells the service manager, where there is one (sd_notify(3)).
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if name[0] == '@' {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = c.Write([]byte(state))
}
