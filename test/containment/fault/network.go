// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// flood sends small datagrams as fast as it can, up to a number. With
// -namespace it sends from another network.
func flood(ctx context.Context, args []string) error {
	var to string
	var most int
	var span time.Duration
	var namespace string
	err := parse("flood", args, func(f *flag.FlagSet) {
		f.StringVar(&to, "to", "", "`address` and port")
		f.IntVar(&most, "count", 0, "datagrams at most")
		f.DurationVar(&span, "for", 0, "how long")
		f.StringVar(&namespace, "namespace", "", "network namespace to send from, a `path`")
	})
	if err != nil {
		return err
	}
	if namespace != "" {
		if err := enter(namespace); err != nil {
			return err
		}
	}
	if err := await(); err != nil {
		return err
	}
	conn, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	payload := make([]byte, 64)
	for sent := 0; sent < most && bound.Err() == nil; sent++ {
		// Nobody listening, or a queue that is full, is no reason for a flood to end.
		_, _ = conn.Write(payload)
	}
	return stay(ctx)
}

// enter moves this thread, which makes the role's sockets, into the network
// namespace at path.
func enter(path string) error {
	runtime.LockOSThread()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		_ = unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("enter the network namespace %s: %w", path, err)
	}
	return nil
}

// sink receives datagrams, as a service that is flooded does.
func sink(ctx context.Context, args []string) error {
	var listen string
	err := parse("sink", args, func(f *flag.FlagSet) {
		f.StringVar(&listen, "listen", "", "`address` and port")
	})
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	fmt.Println("ready")
	buf := make([]byte, 2048)
	for {
		if _, _, err := conn.ReadFrom(buf); errors.Is(err, net.ErrClosed) {
			return nil
		}
	}
}
