// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// memoryLimit is what the garbage collector keeps the guard within.
const memoryLimit = 10 << 20

func serveCommand(o *options, log *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Restore what a former guard left, then take orders until told to stop",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), o, log)
		},
	}
}

func serve(ctx context.Context, o *options, log *slog.Logger) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	spareFromOOM(log)
	if err := selfTest(ctx); err != nil {
		return err
	}
	lockMemory(log)

	unlock, err := lock(ctx, o.socket)
	if err != nil {
		return err
	}
	defer unlock()
	config := o.config(log)
	config.OnPatrol = heartbeat()
	g, err := guard.New(config)
	if err != nil {
		return err
	}
	for _, r := range guard.Missing(g.Requirements()) {
		log.Warn("missing: orders will fail", "requirement", r.Name, "cause", r.Cause, "remedy", r.Remedy)
	}

	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = g.Run(ctx) })
	log.Info("taking orders", "socket", o.socket, "uid", int(o.uid), "cgroup_root", g.Status().Root)
	err = guard.Serve(ctx, g, o.socket, int(o.uid))
	stop()
	running.Wait()
	return errors.Join(err, g.Close())
}

// lock waits a little for the lock: a guard that was killed holds it until the
// last of its threads is gone.
func lock(ctx context.Context, socket string) (unlock func(), err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		unlock, err = guard.Lock(socket)
		if !errors.Is(err, guard.ErrLocked) || wait > time.Second {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// selfTest runs where there is a directory to write to; a guard without one is
// none the worse for it.
func selfTest(ctx context.Context) error {
	for _, dir := range []string{"/run", os.TempDir(), "/dev/shm"} {
		if unix.Access(dir, unix.W_OK|unix.X_OK) == nil {
			return guard.SelfTest(ctx, dir)
		}
	}
	return nil
}

// heartbeatFD is the environment variable by which the supervisor hands its
// child the pipe to beat on.
const heartbeatFD = "REFLEXGUARD_HEARTBEAT_FD"

// heartbeat returns what a guard calls after each patrol: a byte to the
// supervisor, dropped where the pipe is full.
func heartbeat() func() {
	fd, err := strconv.Atoi(os.Getenv(heartbeatFD))
	if err != nil || fd < 3 || unix.SetNonblock(fd, true) != nil {
		return func() {}
	}
	unix.CloseOnExec(fd)
	beat := []byte{'.'}
	return func() { _, _ = unix.Write(fd, beat) }
}
