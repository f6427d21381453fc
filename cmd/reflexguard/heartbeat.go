// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

const (
	// hungAfter is how long a child that holds nothing may go without a patrol
	// before it is taken for hung and replaced. Idle it patrols once a second, so
	// that two beats may be lost; holding something, ten times a second.
	hungAfter = 3 * time.Second
	// A child that holds leases is not given that long: an original must be back
	// one second after its lease's end at the latest, and the next child needs
	// most of that. At the deadline it may have been silent for two patrols, or tell
	// of it for as long; then it has lastChance: the machine may have been asleep,
	// or the supervisor itself kept from running.
	overdue    = 200 * time.Millisecond
	lastChance = 100 * time.Millisecond
	// firstBeat is how many times hungAfter a child has to get ready.
	firstBeat = 10
	// restoresWithin is how long it has to restore where the one before it held
	// leases. It doubles with each child that needs longer: the machine may.
	restoresWithin = 500 * time.Millisecond
)

// Two beats of an idle child may be lost.
const _ = uint(hungAfter - 3*guard.Stroll)

// restored is what a child beats before it is ready, for a deadline: what
// others left turned is back.
const restored = -1

// heartbeatFD is the environment variable by which the supervisor hands its
// child the pipe to beat on.
const heartbeatFD = "REFLEXGUARD_HEARTBEAT_FD"

// beatLength is a deadline's: eight bytes are written, and so read, as a whole.
const beatLength = 8

// heartbeat returns what a guard calls after each patrol: to the supervisor the
// deadline that is due next, dropped where the pipe is full.
func heartbeat() func(due int64) {
	fd, err := strconv.Atoi(os.Getenv(heartbeatFD))
	if err != nil || fd < 3 || unix.SetNonblock(fd, true) != nil {
		return func(int64) {}
	}
	unix.CloseOnExec(fd)
	return func(due int64) {
		var beat [beatLength]byte
		binary.NativeEndian.PutUint64(beat[:], uint64(due))
		_, _ = unix.Write(fd, beat[:])
	}
}

// pulse listens to the heartbeats of one child after the other.
type pulse struct {
	hung  time.Duration // hungAfter
	clock func() int64  // CLOCK_BOOTTIME
	due   int64         // the deadline named last, by whichever child
	slow  int           // children in a row that did not restore in time
}

// patience returns how long a child may be silent at first: what the one before
// held has to be given back.
func (p *pulse) patience() time.Duration {
	most := firstBeat * p.hung
	if p.due <= 0 {
		return most
	}
	return min(restoresWithin<<min(p.slow, 16), most)
}

// listen reads heartbeats until the pipe ends, and calls hung if they cease, or
// if a lease is held past its deadline.
func (p *pulse) listen(r *os.File, hung func()) {
	buf := make([]byte, 512*beatLength)
	patience, last := p.patience(), time.Now()
	ready, strikes := false, 0
	for {
		wait := patience - time.Since(last)
		switch {
		case strikes > 0:
			wait = min(wait, lastChance)
		case ready && p.due > 0:
			wait = min(wait, max(time.Duration(p.due-p.clock()), overdue-time.Since(last)))
		}
		if r.SetReadDeadline(time.Now().Add(max(wait, 0))) != nil {
			return
		}
		n, err := r.Read(buf)
		late := errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !late {
			return // the child is gone
		}
		if n >= beatLength {
			last = time.Now()
			p.due = int64(binary.NativeEndian.Uint64(buf[n-beatLength : n]))
			if p.due == restored {
				patience, p.slow = firstBeat*p.hung, 0
				continue
			}
			if !ready {
				notify("READY=1")
			}
			ready, patience = true, p.hung
			late = p.due > 0 && time.Duration(p.clock()-p.due) > overdue
		}
		if !late {
			strikes = 0
			continue
		}
		if strikes++; strikes > 1 || time.Since(last) >= patience {
			if p.due > 0 && !ready {
				p.slow++
			}
			hung()
			return
		}
	}
}

// boottime returns CLOCK_BOOTTIME in ns, on which deadlines are.
func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // no deadline has passed then
	}
	return ts.Nano()
}
