// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// Collector is how a collector behaves.
type Collector struct {
	Socket string
	Cgroup uint64
	// Sent names the file in which it leaves when it sent its last order
	// (CLOCK_BOOTTIME, ns, native order), before it does.
	Sent string
	TTL  time.Duration
	// For is how long it renews, every renewEvery; Rise has the ceiling rise with
	// each renewal; Release has it order the release in the end. It does so early
	// when it is told to by SIGUSR1.
	For           time.Duration
	Rise, Release bool
}

const (
	renewEvery = 100 * time.Millisecond
	floorBytes = 64 << 20 // the first ceiling
	riseBytes  = 24 << 20
	// actWithin is how long the extension waits for the guard.
	actWithin = time.Second
)

// Run gives orders until it is over, or the guard does not answer.
func (c Collector) Run(ctx context.Context) error {
	f, err := os.OpenFile(c.Sent, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGUSR1)
	client := guard.Dial(c.Socket)
	defer func() { _ = client.Close() }()
	order := arc.Order{
		Cgroup: c.Cgroup, Action: arc.ActionMemoryHigh, Verb: arc.Hold, Parameter: floorBytes,
		TTL: int64(c.TTL), Generation: uint64(boottime()), Reason: "ordered by the crash matrix",
	}
	give := func() error {
		var now [8]byte
		binary.NativeEndian.PutUint64(now[:], uint64(boottime()))
		if _, err := f.WriteAt(now[:], 0); err != nil {
			return err
		}
		within, cancel := context.WithTimeout(ctx, actWithin)
		defer cancel()
		var out arc.Outcome
		if err := client.Act(within, order, &out); err != nil {
			return err
		}
		fmt.Printf("%s: %s %s\n", order.Verb, out.Verdict, out.Cause)
		if out.Verdict == arc.VerdictRefused { // it has been, or the guard is another by now
			order.Generation = uint64(boottime())
		}
		return nil
	}
	over := time.After(c.For)
	for going := true; going; {
		if err := give(); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		if c.Rise {
			order.Parameter += riseBytes
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			going = false
		case <-told:
			going = false
		case <-time.After(renewEvery):
		}
	}
	if c.Release {
		order.Verb = arc.Release
		return give()
	}
	return nil
}

// boottime is the clock of leases.
func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// Tenant tries, as a user who owns the cgroup's directory, to leave a lease
// record there, and succeeds if the kernel lets it leave none but its own.
func Tenant(dir string) error {
	const forged = `{"version":1,"original":"max","low":"4096","high":"max","generation":9,"boot_id":"x","granted":1,"deadline":2}`
	if err := unix.Setxattr(dir, "trusted.reflex.lease.memory.high", []byte(forged), 0); err == nil {
		return fmt.Errorf("a tenant wrote a lease record on %s", dir)
	}
	// Its own name space is the tenant's, and nobody reads it.
	err := unix.Setxattr(dir, "user.reflex.lease.memory.high", []byte(forged), 0)
	fmt.Println("tenant: user attribute:", err)
	return nil
}
