// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/faultpoint"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

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
	collectEarly()
	spareFromOOM(log)
	unlock, unserved, err := lock(ctx, o)
	if err != nil {
		return err
	}
	defer unlock()
	faultpoint.Pass("started")
	config := o.config(log)
	config.OnPatrol = heartbeat()
	g, err := patiently(ctx, func() (*guard.Guard, error) { return guard.New(config) }) // it restores, and nothing comes before that
	if err != nil {
		return errors.Join(unserved, err)
	}
	if unserved != nil {
		return errors.Join(unserved, g.Close())
	}
	config.OnPatrol(restored)
	faultpoint.Pass("restored")
	if err := selfTest(ctx, log, selfTestDirs()); err != nil {
		return errors.Join(err, g.Close())
	}
	lockMemory(log)
	limitMemory(log)
	for _, r := range guard.Missing(g.Requirements()) {
		log.Warn("missing: orders will fail", "requirement", r.Name, "cause", r.Cause, "remedy", r.Remedy)
	}
	for _, r := range guard.Missing(guard.NetworkRequirements()) {
		log.Warn("missing: network actions will fail", "requirement", r.Name, "cause", r.Cause, "remedy", r.Remedy)
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

// lock makes this process the one guard of its socket. Where no file can be made for
// that, as where the socket's directory was removed, unserved says why: no orders can be
// taken, but what was left has to go back all the same.
func lock(ctx context.Context, o *options) (unlock func(), unserved, err error) {
	unlock, err = patiently(ctx, func() (func(), error) { return guard.Lock(o.socket) })
	if err == nil || errors.Is(err, guard.ErrLocked) {
		return unlock, nil, err
	}
	return func() {}, err, nil
}

// patiently waits a little for a lock: a guard that was killed holds it until
// the last of its threads is gone.
func patiently[T any](ctx context.Context, try func() (T, error)) (T, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		got, err := try()
		if !errors.Is(err, guard.ErrLocked) || wait > time.Second {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, err
		case <-time.After(wait):
		}
	}
}

// selfTestDirs are where the self-test may write; replaced in tests.
var selfTestDirs = func() []string { return []string{"/run", os.TempDir(), "/dev/shm"} }

// selfTest runs in the first directory that can be written to. One that is full
// or read-only says nothing of the guard, and neither does having none.
func selfTest(ctx context.Context, log *slog.Logger, dirs []string) error {
	for _, dir := range dirs {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if err == nil {
			if err = guard.SelfTest(ctx, dir); err == nil || !unwritable(err) {
				return err
			}
		}
		log.Warn("no self-test in this directory", "directory", dir, "cause", err)
	}
	log.Warn("the guard was not tested: no directory can be written to")
	return nil
}

// unwritable reports whether an error is of the directory, not of the guard.
func unwritable(err error) bool {
	for _, cause := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EACCES} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}
