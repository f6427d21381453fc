// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// flood sends datagrams as fast as one thread can.
func flood(ctx context.Context, args []string) error {
	var to string
	var size int
	var span time.Duration
	err := parse("flood", args, func(f *flag.FlagSet) {
		f.StringVar(&to, "to", "", "`address` and port")
		f.IntVar(&size, "size", 64, "bytes of a datagram")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
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
	for payload := make([]byte, size); bound.Err() == nil; {
		// Nobody listening, or a queue that is full, is no reason for a flood to end.
		_, _ = conn.Write(payload)
	}
	return stay(ctx)
}

// elsewhere becomes another role, in the network namespace at a path. All threads of
// a program are in that of the thread that executed it.
func elsewhere(_ context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("elsewhere: want the path of a network namespace and a role")
	}
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		_ = unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("enter the network namespace %s: %w", args[0], err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, append([]string{self}, args[1:]...), os.Environ())
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
